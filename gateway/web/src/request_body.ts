// A conversation as the body of POST /v1/chat/completions.
import type { AttachedFile, Conversation, Message, Settings } from "./types";

export interface ChatTurn {
  role: "system" | "user" | "assistant";
  content: string;
}

export interface RequestBody {
  model?: string;
  messages: ChatTurn[];
  stream: true;
  stream_options: { include_usage: true };
  [parameter: string]: unknown;
}

/** Parameters that are numbers, in the order in which they are shown. */
export const samplingParameters = [
  "temperature",
  "top_p",
  "top_k",
  "min_p",
  "repetition_penalty",
  "presence_penalty",
  "frequency_penalty",
  "max_tokens",
  "seed",
] as const;

/** A user's message as the model sees it: files first, each between marks that carry its name. */
export function promptText(message: Message): string {
  const files = (message.files ?? []).map((file) => `<file name="${file.name}">\n${file.text}\n</file>`);
  return [...files, message.content].filter((part) => part !== "").join("\n\n");
}

export function responseFormat(settings: Settings): unknown {
  if (settings.format === "json_object") return { type: "json_object" };
  if (settings.format !== "json_schema") return undefined;
  let schema: unknown;
  try {
    schema = JSON.parse(settings.schema);
  } catch {
    return undefined; // The page does not send while the schema can't be read.
  }
  return { type: "json_schema", json_schema: { name: "answer", schema, strict: true } };
}

/** The request for the answer that follows `messages`. */
export function requestBody(settings: Settings, messages: Message[], model?: string): RequestBody {
  const turns: ChatTurn[] = settings.system.trim() === "" ? [] : [{ role: "system", content: settings.system }];
  for (const message of messages) {
    // An answer that failed before its first word is no turn.
    if (message.role === "assistant" && message.content === "") continue;
    turns.push({ role: message.role, content: promptText(message) });
  }
  const body: RequestBody = {
    ...(model ? { model } : {}),
    messages: turns,
    stream: true,
    stream_options: { include_usage: true },
  };
  for (const name of samplingParameters) {
    if (settings[name] !== undefined) body[name] = settings[name];
  }
  const format = responseFormat(settings);
  if (format !== undefined) body.response_format = format;
  return body;
}

/** What asking now would send: the question `draft`, or, if there is none, the last one again. */
export function nextRequest(
  conversation: Conversation,
  draft: { content: string; files: AttachedFile[] } | null,
  model?: string,
): RequestBody {
  const { messages, settings } = conversation;
  if (draft) return requestBody(settings, [...messages, { id: "draft", role: "user", ...draft }], model);
  return requestBody(settings, withoutLastAnswer(messages), model);
}

export function withoutLastAnswer(messages: Message[]): Message[] {
  return messages[messages.length - 1]?.role === "assistant" ? messages.slice(0, -1) : messages;
}
