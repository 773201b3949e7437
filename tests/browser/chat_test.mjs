// Talking to the model, with the real server behind the page.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { answerLong, answered, answers, ask, box, contentOf, lastAnswer, setNumbers, useServerAndBrowser } from "./fixture.mjs";

const fixture = useServerAndBrowser();

test("an answer streams in, and says how it went", () =>
  fixture.withPage(async (page) => {
    await setNumbers(page, { "Max. tokens": 48, Seed: 1 });
    const lengths = new Set();
    await page.exposeFunction("sawLength", (length) => lengths.add(length));
    await page.evaluate(() => {
      const look = () => window.sawLength(document.querySelector(".message.assistant .markdown")?.textContent.length ?? 0);
      new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
    });
    const body = await ask(page, "Write a long story about the sea.");
    assert.deepEqual(body, {
      model: body.model,
      messages: [{ role: "user", content: "Write a long story about the sea." }],
      stream: true,
      stream_options: { include_usage: true },
      max_tokens: 48,
      seed: 1,
    });
    assert.ok(lengths.size > 3, `the text came in ${lengths.size} pieces`);
    assert.match(await lastAnswer(page).locator(".stats").innerText(), /^48 tokens · [\d.]+ tokens\/s · first token .+ · prompt \d+ · cut off/);
    assert.match(await page.locator(".context-use").innerText(), /^\d+ of 8,192 tokens of context$/);
    assert.equal(await page.locator(".conversation.current .conversation-title").innerText(), "Write a long story about the sea.");
  }));

test("Esc stops an answer, and the server stops with it", () =>
  fixture.withPage(async (page) => {
    await setNumbers(page, { "Max. tokens": 4000 });
    await answerLong(page);
    await box(page).fill("Count from one to one thousand.");
    await box(page).press("Enter");
    await page.locator(".message.assistant .markdown").waitFor();
    await page.getByRole("button", { name: "Stop (Esc)" }).waitFor();
    await page.keyboard.press("Escape");
    await answered(page);
    assert.match(await lastAnswer(page).locator(".stats").innerText(), /stopped$/);
    assert.notEqual(await contentOf(lastAnswer(page)), "");
    for (let tries = 0; ; ++tries) {
      const { groups } = await (await fetch(`${fixture.server.url}/cluster`)).json();
      if (groups[0].num_running === 0) break;
      assert.ok(tries < 50, "the server still generates");
      await page.waitForTimeout(200);
    }
    // The button does the same.
    await box(page).fill("Again.");
    await box(page).press("Enter");
    await page.getByRole("button", { name: "Stop (Esc)" }).click();
    await answered(page);
    assert.match(await lastAnswer(page).locator(".stats").innerText(), /stopped$/);
  }));

test("regenerate asks the same again; edit and resend drops what followed", () =>
  fixture.withPage(async (page) => {
    await setNumbers(page, { "Max. tokens": 16, Seed: 5 });
    await ask(page, "Name a colour.");
    const first = await contentOf(lastAnswer(page));
    await ask(page, "And another one.");
    assert.equal(await answers(page).count(), 2);

    const again = page.waitForRequest("**/v1/chat/completions");
    await answers(page).first().hover();
    await answers(page).first().getByRole("button", { name: "Regenerate" }).click();
    assert.equal((await again).postDataJSON().messages.length, 1);
    await answered(page);
    assert.equal(await answers(page).count(), 1);
    assert.equal(await contentOf(lastAnswer(page)), first, "the same seed gives the same answer");

    await page.locator(".message.user").hover();
    await page.getByRole("button", { name: "Edit" }).click();
    await page.getByRole("textbox", { name: "Edit the message" }).fill("Name an animal.");
    const edited = page.waitForRequest("**/v1/chat/completions");
    await page.getByRole("button", { name: "Send again" }).click();
    assert.deepEqual((await edited).postDataJSON().messages, [{ role: "user", content: "Name an animal." }]);
    await answered(page);
    assert.deepEqual(await page.locator(".message.user .bubble").allInnerTexts(), ["Name an animal."]);
  }));

test("system prompt and sampling go into the request, and only if they were set", () =>
  fixture.withPage(async (page) => {
    await page.getByLabel("System prompt").fill("You are brief.");
    await page.getByLabel("Temperature").fill("0.3");
    await page.getByLabel("Top-k").fill("12");
    await page.getByLabel("Presence penalty").fill("-0.5");
    await setNumbers(page, { "Max. tokens": 4 });
    const { messages, model, stream, stream_options, ...sampling } = await ask(page, "Hello");
    assert.deepEqual(messages, [{ role: "system", content: "You are brief." }, { role: "user", content: "Hello" }]);
    assert.deepEqual(sampling, { temperature: 0.3, top_k: 12, presence_penalty: -0.5, max_tokens: 4 });
    await page.getByRole("button", { name: "Reset Temperature to the model's default" }).click();
    assert.equal((await ask(page, "Hello again")).temperature, undefined);
    await page.getByRole("button", { name: "Reset all" }).click();
    const last = page.waitForRequest("**/v1/chat/completions");
    await box(page).fill("x");
    await box(page).press("Enter");
    assert.deepEqual(Object.keys((await last).postDataJSON()).sort(), ["messages", "model", "stream", "stream_options"]);
    await page.keyboard.press("Escape");
    await answered(page);
  }));

test("conversations are kept, renamed, exported and deleted", () =>
  fixture.withPage(async (page) => {
    await setNumbers(page, { "Max. tokens": 8 });
    await ask(page, "First question");
    const answer = await contentOf(lastAnswer(page));
    await page.getByRole("button", { name: "New chat" }).click();
    assert.equal(await answers(page).count(), 0);
    await ask(page, "Second question");
    const titles = page.locator(".conversation-title");
    assert.deepEqual(await titles.allInnerTexts(), ["Second question", "First question"]);

    await titles.nth(1).click();
    assert.equal(await contentOf(lastAnswer(page)), answer);
    await page.getByRole("button", { name: "Actions for First question" }).click();
    await page.getByRole("menuitem", { name: "Rename" }).click();
    await page.getByRole("textbox", { name: "Name" }).fill("Renamed");
    await page.getByRole("button", { name: "Save" }).click();
    await page.waitForTimeout(600); // Saved a moment after the last change.
    await page.reload();
    assert.equal(await page.locator(".conversation.current .conversation-title").innerText(), "Renamed");
    assert.equal(await contentOf(lastAnswer(page)), answer);
    assert.equal(await page.getByLabel("Max. tokens").inputValue(), "8");

    for (const [item, name, pattern] of [
      ["Export as Markdown", "Renamed.md", /^# Renamed\n\n\*\*You\*\*\n\nFirst question\n\n\*\*Assistant\*\*/],
      ["Export as JSON", "Renamed.json", /"content": "First question"/],
    ]) {
      const download = page.waitForEvent("download");
      await page.getByRole("button", { name: "Actions for Renamed" }).click();
      await page.getByRole("menuitem", { name: item }).click();
      assert.equal((await download).suggestedFilename(), name);
      assert.match(readFileSync(await (await download).path(), "utf8"), pattern);
    }

    await page.getByRole("button", { name: "Actions for Renamed" }).click();
    await page.getByRole("menuitem", { name: "Delete" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
    assert.deepEqual(await titles.allInnerTexts(), ["Second question"]);
    await page.reload();
    assert.deepEqual(await titles.allInnerTexts(), ["Second question"]);
  }));

test("a text file is counted, sent with the question, and warned of if it is too long", () =>
  fixture.withPage(async (page) => {
    await setNumbers(page, { "Max. tokens": 8 });
    const text = (name, content) => ({ name, mimeType: "text/plain", buffer: Buffer.from(content) });
    const picker = page.locator("input[type=file]");
    await picker.setInputFiles(text("notes.txt", "The meeting is on Friday at ten.\n".repeat(30)));
    await page.locator(".attachments", { hasText: /notes\.txt\s*990 B · \d+ tokens/ }).waitFor();
    const body = await ask(page, "Summarise this.");
    assert.match(body.messages[0].content, /^<file name="notes\.txt">\nThe meeting is on Friday/);
    assert.match(body.messages[0].content, /<\/file>\n\nSummarise this\.$/);
    assert.equal(await page.locator(".attachments").count(), 0);
    assert.match(await page.locator(".message.user").innerText(), /notes\.txt/);

    await picker.setInputFiles(text("novel.txt", "All happy families are alike. ".repeat(2000)));
    await page.getByRole("alert").filter({ hasText: /^About [\d,]+ tokens don't fit into the context of 8,192/ }).waitFor();
    await page.getByRole("button", { name: "Remove novel.txt" }).click();
    assert.equal(await page.getByRole("alert").count(), 0);

    // Dropped instead of picked.
    const data = await page.evaluateHandle(() => {
      const transfer = new DataTransfer();
      transfer.items.add(new File(["dropped text"], "dropped.md"));
      transfer.items.add(new File([new Uint8Array([0xff, 0xfe, 0, 1])], "picture.png"));
      return transfer;
    });
    await page.dispatchEvent(".chat", "dragover", { dataTransfer: data });
    await page.getByText("Drop a text file to attach it").waitFor();
    await page.dispatchEvent(".chat", "drop", { dataTransfer: data });
    await page.locator(".attachments", { hasText: "dropped.md" }).waitFor();
    await page.getByText("picture.png is not a text file (UTF-8).").waitFor();
  }));
