// Makes the pictures of the page in docs/images, with the real server behind it:
//   node tests/browser/screenshots.mjs [FOLDER]
// The machine needs a font with Chinese characters, e.g. Debian's fonts-noto-cjk.
import { mkdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { conversation, openPage, seedConversations, startBrowser } from "./browser.mjs";
import { startServer } from "./server.mjs";

const folder = process.argv[2] ?? join(dirname(fileURLToPath(import.meta.url)), "../../docs/images");
const maxBytes = 200_000;
const answerMs = 60_000;

// The small model's own answers are poor reading, so that the conversations in the pictures are written by hand.
const english = [
  ["user", "What is a KV cache, and why does it make decoding faster?"],
  [
    "assistant",
    "When a transformer writes the next token, its attention looks back at the **keys and values** of all earlier tokens. " +
      "These never change, so they are computed once and kept: that store is the KV cache.\n\n" +
      "| | without cache | with cache |\n|---|---|---|\n| work for token *n* | all *n* tokens | one token |\n| memory | none | grows with *n* |\n\n" +
      "In outline:\n\n```python\ndef decode_step(token, cache):\n    q, k, v = project(token)\n    cache.append(k, v)          # one row, not n\n" +
      "    return attend(q, cache.keys, cache.values)\n```\n\nThe price is memory: for Qwen2.5-7B, 57,344 bytes a token.",
    { stats: { promptTokens: 38, completionTokens: 164, exact: true, firstTokenMs: 92, tokensPerSecond: 71.4, finishReason: "stop" } },
  ],
];
const chinese = [
  ["user", "请解释牛顿第一定律，并举例说明。"],
  [
    "assistant",
    "**牛顿第一定律**（惯性定律）指出：\n\n> 任何物体都保持静止或匀速直线运动的状态，直到有外力迫使它改变这种状态。\n\n" +
      "生活中的例子：\n\n1. **急刹车**：汽车突然停下时，乘客的身体会继续向前倾。\n2. **拍打衣服**：衣服运动，灰尘因惯性留在原处而脱落。\n" +
      "3. **冰面上的冰球**：摩擦力很小，冰球可以滑行很远。\n\n因此，力不是维持运动的原因，而是**改变运动状态**的原因。",
    { stats: { promptTokens: 31, completionTokens: 118, exact: true, firstTokenMs: 88, tokensPerSecond: 73.1, finishReason: "stop" } },
  ],
];
const others = [
  conversation("b", "Longest palindrome in Python", [["user", "…"]]),
  conversation("c", "E-mail about Friday's meeting", [["user", "…"]]),
];
const othersChinese = [
  conversation("b", "最长回文子串的 Python 实现", [["user", "…"]]),
  conversation("c", "会议改期邮件", [["user", "…"]]),
];
const desktop = { viewport: { width: 1360, height: 850 } };
const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };

async function picture(page, name) {
  const path = join(folder, `${name}.png`);
  await page.mouse.move(0, 0);
  await page.evaluate(() => document.activeElement?.blur());
  await page.waitForTimeout(300); // Transitions end.
  await page.screenshot({ path });
  const { size } = statSync(path);
  console.log(`${path}: ${size} bytes`);
  if (size > maxBytes) throw new Error(`${path} is larger than ${maxBytes} bytes`);
}

async function withPage(options, conversations, use) {
  const { page, context } = await openPage(browser, server.url, options);
  await seedConversations(page, conversations);
  await page.locator(".message.assistant").first().waitFor();
  await use(page);
  await context.close();
}

const chat = conversation("a", "What is a KV cache?", english, { temperature: 0.7, max_tokens: 96, seed: 7 });
const chatChinese = conversation("a", "请解释牛顿第一定律，并举例说明。", chinese, { temperature: 0.7, max_tokens: 400 });

async function clusterPicture(page) {
  await page.goto(`${server.url}/#cluster`);
  // Some load, so that the charts have something to show.
  const begin = (count, max_tokens) =>
    Array.from({ length: count }, (_, i) => {
      const body = { prompt: `Story ${i} of ${count}`, max_tokens, ignore_eos: true };
      return fetch(`${server.url}/v1/completions`, { method: "POST", body: JSON.stringify(body) });
    });
  for (const count of [2, 6, 3]) {
    await Promise.all(begin(count, 160));
    await page.waitForTimeout(2500);
  }
  const last = begin(5, 500);
  await page.waitForTimeout(6000);
  await picture(page, "cluster");
  await Promise.all(last);
}

async function apiPicture(page) {
  await page.goto(`${server.url}/#api`);
  await page.getByRole("button", { name: "Run this request" }).click();
  await page.getByRole("button", { name: "Run this request" }).waitFor({ timeout: answerMs });
  await picture(page, "api");
}

mkdirSync(folder, { recursive: true });
const server = await startServer("--tensor_parallel_size=3", "--num_threads=1");
const browser = await startBrowser();
try {
  await withPage(desktop, [chat, ...others], async (page) => {
    await picture(page, "chat");
    await apiPicture(page);
    await clusterPicture(page);
  });
  await withPage({ ...desktop, colorScheme: "dark" }, [chat, ...others], (page) => picture(page, "chat-dark"));
  await withPage({ ...desktop, locale: "zh-CN" }, [chatChinese, ...othersChinese], (page) => picture(page, "chat-zh"));
  await withPage(phone, [chat, ...others], (page) => picture(page, "chat-phone"));
} finally {
  await browser.close();
  await server.stop();
}
