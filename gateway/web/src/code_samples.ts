// A request as code that runs as it stands: curl, Python with the openai library, grpcurl.
import type { RequestBody } from "./request_body";

/** Quotes for a POSIX shell. */
function shellQuote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

export function curlCode(origin: string, body: RequestBody): string {
  return [
    `curl -N ${origin}/v1/chat/completions \\`,
    `  -H 'Content-Type: application/json' \\`,
    `  -d ${shellQuote(JSON.stringify(body, null, 2))}`,
  ].join("\n");
}

/** A JSON value as a Python literal. */
export function pythonLiteral(value: unknown, indent = ""): string {
  const inner = indent + "    ";
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  // JSON's escapes mean the same in Python, but for surrogate pairs, which stringify leaves alone.
  if (typeof value !== "object") return JSON.stringify(value);
  if (Array.isArray(value)) {
    if (value.length === 0) return "[]";
    return `[\n${value.map((item) => `${inner}${pythonLiteral(item, inner)},\n`).join("")}${indent}]`;
  }
  const entries = Object.entries(value);
  if (entries.length === 0) return "{}";
  const lines = entries.map(([key, item]) => `${inner}${JSON.stringify(key)}: ${pythonLiteral(item, inner)},\n`);
  return `{\n${lines.join("")}${indent}}`;
}

// Parameters that are not OpenAI's own; its library takes them as extra_body.
const extensions = new Set(["top_k", "min_p", "repetition_penalty"]);

export function pythonCode(origin: string, body: RequestBody): string {
  const own = Object.entries(body).filter(([name]) => !extensions.has(name));
  const extra = Object.entries(body).filter(([name]) => extensions.has(name));
  const lines = own.map(([name, value]) => `    ${name}=${pythonLiteral(value, "    ")},`);
  if (!body.model) lines.unshift(`    model="",`);
  if (extra.length > 0) lines.push(`    extra_body=${pythonLiteral(Object.fromEntries(extra), "    ")},`);
  return [
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url=${JSON.stringify(`${origin}/v1`)}, api_key="none")`,
    "stream = client.chat.completions.create(",
    ...lines,
    ")",
    "for chunk in stream:",
    "    if chunk.choices:",
    `        print(chunk.choices[0].delta.content or "", end="", flush=True)`,
  ].join("\n");
}

/** The request as JSON of quartet.v1.GenerateRequest. */
export function grpcRequest(body: RequestBody): Record<string, unknown> {
  const { model, messages, stream: _, stream_options: __, response_format: format, ...sampling } = body;
  const request: Record<string, unknown> = model ? { model } : {};
  request.chat = { messages };
  if (Object.keys(sampling).length > 0) request.sampling = sampling;
  if (format !== undefined) Object.assign(request, grpcFormat(format as ResponseFormat));
  return request;
}

interface ResponseFormat {
  type: string;
  json_schema?: { schema: unknown };
}

// quartet.v1's oneof for structured output.
function grpcFormat(format: ResponseFormat): Record<string, unknown> {
  if (format.type === "json_object") return { structured_output: { json_object: {} } };
  return { structured_output: { json_schema: JSON.stringify(format.json_schema?.schema) } };
}

/** `port` is 0 while the gRPC port is not known. */
export function grpcurlCode(host: string, port: number, body: RequestBody): string {
  return [
    `grpcurl -plaintext -d ${shellQuote(JSON.stringify(grpcRequest(body), null, 2))} \\`,
    `  ${host}:${port || 50051} quartet.v1.Inference/Generate`,
  ].join("\n");
}
