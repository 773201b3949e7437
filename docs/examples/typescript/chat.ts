// A conversation through OpenAI's library for TypeScript: streamed text, then an answer that fits a JSON Schema.
//
//   npm ci && npm run build && npm start

import OpenAI from "openai";

const url = process.env.QUARTET_HTTP ?? "http://localhost:8080";
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "unused" });
const model = (await client.models.list()).data[0].id;

const stream = await client.chat.completions.create({
  model,
  messages: [{ role: "user", content: "Name three primary colours." }],
  max_tokens: 60,
  stream: true,
});
for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta.content ?? "");
console.log();

interface City {
  name: string;
  inhabitants: number;
}

const answer = await client.chat.completions.create({
  model,
  messages: [{ role: "user", content: "Describe Paris." }],
  max_tokens: 200,
  response_format: {
    type: "json_schema",
    json_schema: {
      name: "city",
      strict: true,
      schema: {
        type: "object",
        properties: { name: { type: "string", maxLength: 40 }, inhabitants: { type: "integer" } },
        required: ["name", "inhabitants"],
        additionalProperties: false,
      },
    },
  },
});
const choice = answer.choices[0];
// "length": max_tokens cut the JSON short.
if (choice.finish_reason === "stop") {
  const city = JSON.parse(choice.message.content ?? "") as City;
  console.log(`${city.name}: ${city.inhabitants}`);
}
