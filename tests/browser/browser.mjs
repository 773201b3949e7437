// The browser of the tests, and pages that notice what they must not do.
import { chromium } from "playwright-core";

const chromiumPath = process.env.QUARTET_CHROMIUM ?? "/usr/bin/chromium";
// Nothing but the page may use the network.
const flags = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
export const patienceMs = 30_000;

export function startBrowser() {
  return chromium.launch({ executablePath: chromiumPath, args: flags });
}

/**
 * A new page in a profile of its own, at `url`, with `watch`: what it did wrong so far (errors, dialogs, requests to other
 * hosts, violations of its Content-Security-Policy).
 */
export async function openPage(browser, url, options = {}) {
  const context = await browser.newContext({ locale: "en-US", viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(patienceMs);
  const watch = [];
  page.on("pageerror", (error) => watch.push(`error: ${error.message}`));
  page.on("console", (message) => {
    // A refused request is logged by the browser; the page shows it.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) watch.push(`console: ${message.text()}`);
  });
  page.on("dialog", (dialog) => {
    watch.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  context.on("page", (other) => watch.push(`opened: ${other.url()}`));
  const origin = new URL(url).origin;
  page.on("request", (request) => {
    const address = request.url();
    if (!address.startsWith(`${origin}/`) && !address.startsWith("data:") && !address.startsWith("blob:")) watch.push(`request: ${address}`);
  });
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
      console.error(`policy: ${violatedDirective} ${blockedURI}`),
    );
  });
  await page.goto(url);
  await page.getByRole("textbox", { name: /^(Message|消息)$/ }).waitFor();
  return { page, watch, context };
}

/** Puts conversations into the page's store before it reads them, and shows the first. */
export async function seedConversations(page, conversations) {
  await page.evaluate(async (records) => {
    const database = await new Promise((resolve, reject) => {
      const request = indexedDB.open("quartet", 1);
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
    const transaction = database.transaction("conversations", "readwrite");
    for (const record of records) transaction.objectStore("conversations").put(record);
    await new Promise((resolve) => (transaction.oncomplete = resolve));
    database.close();
    localStorage.setItem("quartet-conversation", records[0].id);
  }, conversations);
  await page.reload();
}

/** A stored conversation of [role, text] pairs. */
export function conversation(id, title, turns, settings = {}) {
  return {
    id,
    title,
    created: 1,
    updated: 1,
    settings: { system: "", format: "text", schema: "", ...settings },
    messages: turns.map(([role, content, more], index) => ({ id: `${id}-${index}`, role, content, ...more })),
  };
}

/** The body of a streamed chat answer that consists of `pieces`. */
export function chatEvents(pieces, { finish = "stop", usage = true } = {}) {
  const chunk = (fields) => `data: ${JSON.stringify({ id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model: "m", ...fields })}\n\n`;
  const events = pieces.map((content) => chunk({ choices: [{ index: 0, delta: { content }, finish_reason: null }] }));
  events.push(chunk({ choices: [{ index: 0, delta: {}, finish_reason: finish }] }));
  if (usage) events.push(chunk({ choices: [], usage: { prompt_tokens: 9, completion_tokens: pieces.length, total_tokens: 9 + pieces.length } }));
  return `${events.join("")}data: [DONE]\n\n`;
}
