// OpenAI's JavaScript library, unchanged, against a server: node --test openai_client.test.mjs, with QUARTET_HTTP set.

import assert from "node:assert/strict";
import { before, test } from "node:test";

import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.env.QUARTET_HTTP}/v1`, apiKey: "unused", maxRetries: 0, timeout: 180_000 });
const PROMPT = "The capital of France is";
const MESSAGES = [{ role: "user", content: "Name the capital of France." }];
const ASK_WEATHER = [{ role: "user", content: "What is the weather in Paris?" }];
const CITY = {
  type: "object",
  properties: { name: { type: "string", maxLength: 30 }, inhabitants: { type: "integer" } },
  required: ["name", "inhabitants"],
  additionalProperties: false,
};
const WEATHER = {
  type: "function",
  function: {
    name: "get_weather",
    parameters: {
      type: "object",
      properties: { city: { type: "string", maxLength: 30 }, unit: { enum: ["celsius", "fahrenheit"] } },
      required: ["city", "unit"],
      additionalProperties: false,
    },
  },
};
let model;

before(async () => {
  model = (await client.models.list()).data[0].id;
});

const chat = (fields) => client.chat.completions.create({ model, messages: MESSAGES, max_tokens: 40, temperature: 0, ...fields });

test("completion", async () => {
  const answer = await client.completions.create({ model, prompt: PROMPT, max_tokens: 8, temperature: 0 });
  assert.match(answer.choices[0].text, /Paris/);
  assert.equal(answer.usage.completion_tokens, 8);
});

test("streamed completion", async () => {
  const request = { model, prompt: PROMPT, max_tokens: 24, temperature: 0 };
  const whole = await client.completions.create(request);
  let text = "";
  for await (const chunk of await client.completions.create({ ...request, stream: true })) text += chunk.choices[0].text;
  assert.equal(text, whole.choices[0].text);
});

test("chat", async () => {
  const answer = await chat({});
  assert.equal(answer.choices[0].message.role, "assistant");
  assert.match(answer.choices[0].message.content, /Paris/);
});

test("streamed chat with usage", async () => {
  const whole = await chat({});
  let text = "", usage = null;
  for await (const chunk of await chat({ stream: true, stream_options: { include_usage: true } })) {
    usage = chunk.usage ?? usage;
    text += chunk.choices[0]?.delta.content ?? "";
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(usage.completion_tokens, whole.usage.completion_tokens);
});

test("logprobs", async () => {
  const { content } = (await chat({ logprobs: true, top_logprobs: 2, max_tokens: 5 })).choices[0].logprobs;
  assert.equal(content.length, 5);
  assert.ok(content.every((entry) => entry.top_logprobs.length === 2 && entry.logprob <= 0));
});

test("n answers repeat with their seed", async () => {
  const texts = async () =>
    (await chat({ n: 3, seed: 11, temperature: 1, max_tokens: 12 })).choices.map((choice) => choice.message.content);
  const first = await texts();
  assert.deepEqual(await texts(), first);
  assert.ok(new Set(first).size > 1);
});

test("stop", async () => {
  const answer = await client.completions.create({ model, prompt: "1, 2, 3, 4, 5,", stop: [" 8"], max_tokens: 40, temperature: 0 });
  assert.equal(answer.choices[0].text, " 6, 7,");
  assert.equal(answer.choices[0].finish_reason, "stop");
});

test("errors become the library's", async () => {
  await assert.rejects(chat({ temperature: -1 }), (error) => error instanceof OpenAI.BadRequestError && /temperature/.test(error.message));
  await assert.rejects(chat({ model: "no-such-model" }), OpenAI.NotFoundError);
});

test("leaving a stream ends it", async () => {
  const stream = await chat({ stream: true, max_tokens: 4000 });
  for await (const _ of stream) break;
  assert.ok(stream.controller.signal.aborted);
});

test("json object", async () => {
  const choice = (await chat({ response_format: { type: "json_object" }, max_tokens: 300 })).choices[0];
  assert.ok(choice.finish_reason === "length" || typeof JSON.parse(choice.message.content) === "object");
});

test("json schema", async () => {
  const format = { type: "json_schema", json_schema: { name: "city", schema: CITY, strict: true } };
  const choice = (await chat({ response_format: format, max_tokens: 200 })).choices[0];
  assert.equal(choice.finish_reason, "stop");
  const city = JSON.parse(choice.message.content);
  assert.deepEqual(Object.keys(city).sort(), ["inhabitants", "name"]);
  assert.ok(Number.isInteger(city.inhabitants));
});

function checkCall(name, text) {
  assert.equal(name, "get_weather");
  const { city, unit } = JSON.parse(text);
  assert.equal(typeof city, "string");
  assert.ok(["celsius", "fahrenheit"].includes(unit));
}

test("a tool that must be called", async () => {
  const answer = await chat({
    messages: ASK_WEATHER, tools: [WEATHER], tool_choice: "required", parallel_tool_calls: false, max_tokens: 200,
  });
  const call = answer.choices[0].message.tool_calls[0];
  checkCall(call.function.name, call.function.arguments);
  assert.equal(answer.choices[0].finish_reason, "tool_calls");
});

test("streamed tool calls", async () => {
  const runner = client.chat.completions.stream({
    model, messages: ASK_WEATHER, tools: [WEATHER], tool_choice: "required", parallel_tool_calls: false, max_tokens: 200, temperature: 0,
  });
  const message = await runner.finalMessage();
  checkCall(message.tool_calls[0].function.name, message.tool_calls[0].function.arguments);
});

test("response", async () => {
  const answer = await client.responses.create({ model, input: MESSAGES, max_output_tokens: 40, temperature: 0 });
  assert.match(answer.output_text, /Paris/);
  assert.equal(answer.status, "completed");
});

test("streamed response", async () => {
  const request = { model, input: MESSAGES, max_output_tokens: 40, temperature: 0 };
  const whole = await client.responses.create(request);
  let text = "", last = null;
  for await (const event of await client.responses.create({ ...request, stream: true })) {
    if (event.type === "response.output_text.delta") text += event.delta;
    last = event;
  }
  assert.equal(text, whole.output_text);
  assert.equal(last.type, "response.completed");
});
