import assert from "node:assert/strict";
import { test } from "node:test";
import { curlCode, grpcRequest, grpcurlCode, pythonCode, pythonLiteral } from "./code_samples";
import { nextRequest, requestBody } from "./request_body";
import type { Conversation, Message, Settings } from "./types";

const plain: Settings = { system: "", format: "text", schema: "" };
const user = (content: string): Message => ({ id: content, role: "user", content });
const assistant = (content: string): Message => ({ id: content, role: "assistant", content });

test("only what was set is sent", () => {
  const body = requestBody(plain, [user("Hi")], "m");
  assert.deepEqual(body, {
    model: "m",
    messages: [{ role: "user", content: "Hi" }],
    stream: true,
    stream_options: { include_usage: true },
  });
  const set = requestBody({ ...plain, system: "Be brief.", temperature: 0, top_k: 5, seed: 3 }, [user("Hi")]);
  assert.deepEqual(set.messages[0], { role: "system", content: "Be brief." });
  assert.equal(set.temperature, 0);
  assert.equal(set.top_k, 5);
  assert.equal(set.seed, 3);
  assert.ok(!("top_p" in set) && !("model" in set));
});

test("files go before the text, and answers without a word are left out", () => {
  const files = [{ name: "a.txt", bytes: 3, text: "abc" }];
  const body = requestBody(plain, [user("one"), assistant(""), { ...user("Summarise."), files }]);
  assert.deepEqual(
    body.messages.map(({ content }) => content),
    ["one", '<file name="a.txt">\nabc\n</file>\n\nSummarise.'],
  );
});

test("the output format follows the settings", () => {
  assert.deepEqual(requestBody({ ...plain, format: "json_object" }, []).response_format, { type: "json_object" });
  const schema = '{"type":"object"}';
  assert.deepEqual(requestBody({ ...plain, format: "json_schema", schema }, []).response_format, {
    type: "json_schema",
    json_schema: { name: "answer", schema: { type: "object" }, strict: true },
  });
  assert.equal(requestBody({ ...plain, format: "json_schema", schema: "{" }, []).response_format, undefined);
});

test("asking now sends the draft, or the last question again", () => {
  const conversation = { settings: plain, messages: [user("one"), assistant("two")] } as unknown as Conversation;
  const contents = (draft: { content: string; files: [] } | null) =>
    nextRequest(conversation, draft).messages.map(({ content }) => content);
  assert.deepEqual(contents({ content: "three", files: [] }), ["one", "two", "three"]);
  assert.deepEqual(contents(null), ["one"]);
});

test("code survives quotes, and Python gets its own words", () => {
  const body = requestBody({ ...plain, top_k: 4 }, [user("It's \"quoted\"\n$HOME")], "m");
  const curl = curlCode("http://h:1", body);
  assert.ok(curl.includes(`It'\\''s \\"quoted\\"\\n$HOME`), curl);
  const python = pythonCode("http://h:1", body);
  assert.ok(python.includes("stream=True,"), python);
  assert.ok(python.includes('extra_body={\n        "top_k": 4,\n    },'), python);
  assert.ok(python.includes('base_url="http://h:1/v1"'), python);
  assert.equal(pythonLiteral({ a: [null, true, "x"], b: {}, c: [] }), '{\n    "a": [\n        None,\n        True,\n        "x",\n    ],\n    "b": {},\n    "c": [],\n}');
});

test("gRPC has sampling and format in places of their own", () => {
  const schema = '{"type":"object"}';
  const request = grpcRequest(requestBody({ ...plain, temperature: 0.5, format: "json_schema", schema }, [user("Hi")], "m"));
  assert.deepEqual(request, {
    model: "m",
    chat: { messages: [{ role: "user", content: "Hi" }] },
    sampling: { temperature: 0.5 },
    structured_output: { json_schema: schema },
  });
  assert.match(grpcurlCode("h", 7, requestBody(plain, [user("Hi")])), /h:7 quartet\.v1\.Inference\/Generate$/);
});
