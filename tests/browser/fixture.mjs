// One server and one browser for the tests of a file, and what most of them do.
import assert from "node:assert/strict";
import { after, before } from "node:test";
import { openPage, startBrowser } from "./browser.mjs";
import { startServer } from "./server.mjs";

/** Started before the first test of the file that calls this, ended after the last. */
export function useServerAndBrowser(...flags) {
  const fixture = {
    server: undefined,
    browser: undefined,
    /** Opens the page and hands it to `use`; afterwards it must not have done anything that it may not do. */
    async withPage(use, options) {
      const { page, watch, context } = await openPage(fixture.browser, fixture.server.url, options);
      try {
        await use(page, context);
        assert.deepEqual(watch, []);
      } finally {
        await context.close();
      }
    },
  };
  before(async () => {
    [fixture.server, fixture.browser] = await Promise.all([startServer(...flags), startBrowser()]);
  });
  after(async () => {
    await fixture.browser?.close();
    assert.equal(await fixture.server?.stop(), 0);
  });
  return fixture;
}

export const box = (page) => page.getByRole("textbox", { name: "Message" });
export const answers = (page) => page.locator(".message.assistant");
export const lastAnswer = (page) => answers(page).last();

/** Sets number fields of the settings, e.g. {"Max. tokens": 8}. */
export async function setNumbers(page, numbers) {
  for (const [label, value] of Object.entries(numbers)) await page.getByLabel(label).fill(String(value));
}

/** Sends a message as a person does, and waits until its answer is complete. Gives the request that the page made. */
export async function ask(page, text) {
  const request = page.waitForRequest("**/v1/chat/completions");
  await box(page).fill(text);
  await box(page).press("Enter");
  const body = (await request).postDataJSON();
  await answered(page);
  return body;
}

export async function answered(page) {
  await page.locator('.message.assistant:last-child[aria-busy="false"]').waitFor();
}

export const contentOf = (answer) => answer.locator(".markdown, .json-answer").innerText();

/** The server answers chat requests until max_tokens, whatever the model would like. */
export function answerLong(page) {
  return page.route("**/v1/chat/completions", (route) =>
    route.continue({ postData: JSON.stringify({ ...route.request().postDataJSON(), ignore_eos: true }) }),
  );
}

/** The next chat requests are answered with `body`. */
export function answerWith(page, body, { status = 200, type = "text/event-stream", headers = {} } = {}) {
  return page.route("**/v1/chat/completions", (route) => route.fulfill({ status, contentType: type, headers, body }));
}
