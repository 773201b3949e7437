import assert from "node:assert/strict";
import { test } from "node:test";
import { AnswerReader } from "./answer_reader";
import { SseParser } from "./sse";

test("events are found however the bytes are cut", () => {
  const text = 'data: {"a":1}\n\n: a comment\n\ndata: one\ndata:two\r\n\r\ndata: [DONE]\n\n';
  for (const step of [1, 2, 7, text.length]) {
    const parser = new SseParser();
    const events = [];
    for (let at = 0; at < text.length; at += step) events.push(...parser.push(text.slice(at, at + step)));
    assert.deepEqual(
      events.map(({ data }) => data),
      ['{"a":1}', undefined, "one\ntwo", "[DONE]"],
    );
    assert.equal(events[1]!.raw, ": a comment");
  }
});

function chunk(content: string, more: object = {}): string {
  return JSON.stringify({ choices: [{ delta: { content }, finish_reason: null }], ...more });
}

test("an answer knows its text, its speed and its end", () => {
  let now = 100;
  const reader = new AnswerReader(100, () => now);
  assert.equal(reader.stats, undefined);
  for (const content of ["a", "b", "c"]) {
    now += 50;
    reader.take(chunk(content));
  }
  assert.equal(reader.stats!.exact, false);
  assert.equal(reader.stats!.completionTokens, 3);
  reader.take(JSON.stringify({ choices: [{ delta: {}, finish_reason: "length" }] }));
  reader.take(JSON.stringify({ choices: [], usage: { prompt_tokens: 7, completion_tokens: 11 } }));
  reader.take("[DONE]");
  reader.end();
  assert.equal(reader.text, "abc");
  assert.equal(reader.failure, undefined);
  assert.deepEqual(reader.stats, {
    promptTokens: 7,
    completionTokens: 11,
    exact: true,
    firstTokenMs: 50,
    tokensPerSecond: 100,
    finishReason: "length",
  });
});

test("a stream without [DONE] has failed, and so has one with an error", () => {
  const cut = new AnswerReader(0);
  cut.take(chunk("a"));
  cut.end();
  assert.equal(cut.failure!.status, -1);
  const failed = new AnswerReader(0);
  failed.take(JSON.stringify({ error: { message: "no worker", param: null } }));
  failed.end();
  assert.equal(failed.failure!.message, "no worker");
  const odd = new AnswerReader(0);
  odd.take("<html>");
  odd.end();
  assert.match(odd.failure!.message, /not JSON/);
});
