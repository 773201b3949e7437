// JSON-schema mode with the real server, which lets the model write nothing that does not fit.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ask, contentOf, lastAnswer, setNumbers, useServerAndBrowser } from "./fixture.mjs";

const fixture = useServerAndBrowser();

test("the small model's answer fits the schema", () =>
  fixture.withPage(async (page) => {
    await page.getByText("JSON schema", { exact: true }).click();
    await page.getByRole("textbox", { name: "JSON schema" }).fill(
      JSON.stringify({
        type: "object",
        properties: { colour: { enum: ["red", "green", "blue"] }, likes_it: { type: "boolean" } },
        required: ["colour", "likes_it"],
        additionalProperties: false,
      }),
    );
    await setNumbers(page, { "Max. tokens": 200, Seed: 1 });
    await ask(page, "What is your favourite colour?");
    await lastAnswer(page).getByText("Fits the schema").waitFor();
    const answer = JSON.parse(await contentOf(lastAnswer(page)));
    assert.ok(["red", "green", "blue"].includes(answer.colour));
    assert.equal(typeof answer.likes_it, "boolean");
  }));

test("JSON mode gives an object", () =>
  fixture.withPage(async (page) => {
    await page.getByText("JSON", { exact: true }).click();
    await setNumbers(page, { "Max. tokens": 16, Seed: 1 });
    await ask(page, "Describe a cat as JSON.");
    assert.match(await contentOf(lastAnswer(page)), /^\s*\{/);
    await lastAnswer(page).locator(".verdict").waitFor();
  }));

test("the server names what it can't honour", () =>
  fixture.withPage(async (page) => {
    await page.getByText("JSON schema", { exact: true }).click();
    await page.getByRole("textbox", { name: "JSON schema" }).fill('{"type":"object","unevaluatedProperties":{"type":"string"},"not":{"required":["a"]}}');
    await ask(page, "Anything.");
    await lastAnswer(page).getByText("The server answered 400").waitFor();
  }));
