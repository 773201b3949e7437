// The other views, languages, themes, the phone and the keyboard.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { answered, answers, ask, box, contentOf, lastAnswer, setNumbers, useServerAndBrowser } from "./fixture.mjs";
import { python } from "./server.mjs";

const fixture = useServerAndBrowser("--tensor_parallel_size=3", "--num_threads=1");
const grpcCall = fileURLToPath(new URL("grpc_json_call.py", import.meta.url));
const openTab = (page, name) => page.getByRole("tab", { name, exact: true }).click();

test("the language follows the browser and can be switched", async () => {
  await fixture.withPage(
    async (page) => {
      await page.getByRole("heading", { name: "想聊点什么？" }).waitFor();
      assert.equal(await page.evaluate(() => document.documentElement.lang), "zh-CN");
      await page.getByRole("button", { name: /Switch to English/ }).click();
      await page.getByRole("heading", { name: "What would you like to know?" }).waitFor();
      await page.reload();
      await page.getByRole("tab", { name: "Cluster" }).waitFor();
      await page.getByRole("button", { name: /Switch to Chinese/ }).click();
      await page.getByRole("tab", { name: "集群" }).click();
      await page.getByText("每秒 token 数").waitFor();
    },
    { locale: "zh-CN" },
  );
  await fixture.withPage(async (page) => {
    assert.equal(await page.evaluate(() => document.documentElement.lang), "en");
  });
});

test("light and dark follow the system and can be chosen", () =>
  fixture.withPage(
    async (page) => {
      const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      const dark = await background();
      await page.emulateMedia({ colorScheme: "light" });
      const light = await background();
      assert.notEqual(dark, light);
      await page.getByRole("button", { name: "Theme: as the system" }).click();
      await page.emulateMedia({ colorScheme: "dark" });
      assert.equal(await background(), light, "light was chosen");
      await page.getByRole("button", { name: "Theme: light" }).click();
      await page.emulateMedia({ colorScheme: "light" });
      await page.reload();
      assert.equal(await background(), dark, "dark was chosen and kept");
    },
    { colorScheme: "dark" },
  ));

test("the cluster view shows the ranks, and load as it comes", () =>
  fixture.withPage(async (page) => {
    await openTab(page, "Cluster");
    await page.getByRole("status").filter({ hasText: "Serving" }).waitFor();
    const { groups, model, version } = await (await fetch(`${fixture.server.url}/cluster`)).json();
    assert.equal(groups[0].ranks.length, 3);
    const rows = await page.locator(".ranks tbody tr").allInnerTexts();
    assert.deepEqual(rows.map((row) => row.split("\t").slice(0, 2)), groups[0].ranks.map(({ rank, pid }) => [String(rank), String(pid)]));
    const facts = await page.locator(".facts").innerText();
    for (const fact of [model.name, "135 M", "8,192 tokens", "cpu", version, groups[0].numerics_id]) assert.ok(facts.includes(fact), `${fact} in ${facts}`);

    const meter = (name) => page.locator(".meter", { hasText: name }).locator(".meter-value");
    // Streams that go on until they have been seen.
    const seen = new AbortController();
    const body = JSON.stringify({ prompt: "Once", max_tokens: 4000, ignore_eos: true, stream: true });
    const load = Array.from({ length: 3 }, () =>
      fetch(`${fixture.server.url}/v1/completions`, { method: "POST", body, signal: seen.signal }).then((answer) => answer.text()),
    );
    await page.locator(".meter", { hasText: "Running" }).locator(".meter-value", { hasText: /^3$/ }).waitFor();
    await page.locator(".meter", { hasText: "Tokens per second" }).locator(".meter-value", { hasText: /[1-9]/ }).waitFor();
    seen.abort();
    for (const { reason } of await Promise.allSettled(load)) assert.equal(reason?.name, "AbortError");
    await page.locator(".meter", { hasText: "Running" }).locator(".meter-value", { hasText: /^0$/ }).waitFor();
    await page.getByRole("img", { name: /^Running: now 0, at most 3 in the last 2 minutes$/ }).waitFor();
    assert.match(await meter("KV cache in use").innerText(), /%$/);
  }));

test("the API view's code runs as it stands, and its events are the server's", () =>
  fixture.withPage(async (page) => {
    await setNumbers(page, { "Max. tokens": 12, Seed: 3 });
    await page.getByLabel("Top-k").fill("5");
    await box(page).fill('It\'s a "quoted" $HOME `ls`\nand a second line');
    await openTab(page, "API");
    const code = () => page.locator(".code-sample").innerText();
    const curl = execFileSync("bash", ["-c", await code()], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    assert.ok(curl.endsWith("data: [DONE]\n\n"), curl);
    const contents = (sse) => [...sse.matchAll(/^data: (\{.*\})$/gm)].map(([, data]) => JSON.parse(data).choices[0]?.delta.content ?? "").join("");

    await openTab(page, "Python");
    const spoken = execFileSync(python, ["-c", await code()], { encoding: "utf8" });
    assert.equal(spoken, contents(curl), "curl and Python make the same request");

    await openTab(page, "gRPC");
    const grpc = /-d '([^]*)' \\\n\s+(\S+) quartet\.v1\.Inference\/Generate$/.exec(await code());
    assert.equal(grpc[2], `127.0.0.1:${fixture.server.grpcPort}`);
    const request = grpc[1].replaceAll(`'\\''`, "'");
    const events = execFileSync(python, [grpcCall, grpc[2], "quartet.v1.Inference/Generate", request], { encoding: "utf8" });
    const deltas = events.trim().split("\n").map((line) => JSON.parse(line).delta?.text ?? "");
    assert.equal(deltas.join(""), contents(curl), "and so does gRPC");

    await openTab(page, "JSON");
    const sent = page.waitForRequest("**/v1/chat/completions");
    await page.getByRole("button", { name: "Run this request" }).click();
    assert.deepEqual((await sent).postDataJSON(), JSON.parse(await code()));
    await page.locator(".event-log li", { hasText: "data: [DONE]" }).waitFor();
    const raw = (await page.locator(".event-log code").allInnerTexts()).join("\n\n");
    assert.equal(contents(raw), contents(curl));
    assert.match(await page.locator(".pane .facts").innerText(), /Status\n200/);
    await page.getByText("Response headers").click();
    assert.match(await page.locator(".headers pre").innerText(), /^x-request-id: /m);
    await openTab(page, "Chat");
    const words = (text) => text.split(/\s+/).filter((word) => word !== "");
    assert.deepEqual(words(await contentOf(lastAnswer(page))), words(contents(curl)));
  }));

test("it fits a phone", () =>
  fixture.withPage(
    async (page) => {
      const fits = async () => {
        const [content, screen] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
        assert.ok(content <= screen, `${content} px on a screen of ${screen} px`);
      };
      await fits();
      await page.getByRole("button", { name: "Show settings" }).tap();
      await setNumbers(page, { "Max. tokens": 6 });
      await fits();
      await page.getByRole("complementary", { name: "Settings" }).getByRole("button", { name: "Hide settings" }).tap();
      await box(page).fill("A word that is long: " + "x".repeat(120));
      await page.getByRole("button", { name: "Send" }).tap();
      await answered(page);
      await fits();
      await page.getByRole("button", { name: "Open the list of conversations" }).tap();
      await page.getByRole("button", { name: "New chat" }).tap();
      assert.equal(await answers(page).count(), 0);
      await page.getByRole("button", { name: "New chat" }).waitFor({ state: "hidden" });
      for (const view of ["API", "Cluster"]) {
        await page.getByRole("tab", { name: view, exact: true }).tap();
        await fits();
      }
    },
    { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true },
  ));

test("all of it can be done with the keyboard", () =>
  fixture.withPage(async (page) => {
    const press = (...keys) => keys.reduce((before, key) => before.then(() => page.keyboard.press(key)), Promise.resolve());
    const focused = () => page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent);
    const hasFocus = async (name) => {
      for (let tries = 0; (await focused()) !== name; ++tries) {
        assert.ok(tries < 50, `the focus is on ${await focused()}, not on ${name}`);
        await page.waitForTimeout(20);
      }
    };
    const tabTo = async (name, key = "Tab") => {
      for (let i = 0; i < 60; ++i) {
        if ((await focused()) === name) return;
        await press(key);
      }
      assert.fail(`${name} can't be reached with ${key}`);
    };
    await page.reload();
    await press("Shift+Tab"); // Leaves the box, which has the focus.
    await tabTo("Skip to the message box", "Shift+Tab");
    await press("Enter");
    await hasFocus("Message");

    await page.keyboard.type("one");
    await press("Shift+Enter");
    await page.keyboard.type("two");
    assert.equal(await box(page).inputValue(), "one\ntwo");
    await press("Enter");
    await page.locator(".message.assistant").waitFor();
    await press("Escape");
    await answered(page);
    assert.equal(await page.locator(".message.user .bubble").innerText(), "one\ntwo");

    await tabTo("Chat", "Shift+Tab");
    await press("ArrowRight");
    await page.getByRole("heading", { name: "Request" }).waitFor();
    await hasFocus("API");
    await press("End");
    await page.getByText("Worker group 0").waitFor();
    await press("Home");
    await box(page).waitFor();

    await tabTo("Actions for one");
    await press("Enter");
    await hasFocus("Rename");
    await press("ArrowUp");
    await hasFocus("Delete");
    await press("Escape");
    await hasFocus("Actions for one");
    await press("Enter");
    await hasFocus("Rename");
    await press("ArrowUp", "Enter");
    await page.getByRole("dialog").waitFor();
    await press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    assert.equal(await answers(page).count(), 1, "Esc deletes nothing");
  }));

test("every control has a name, and the focus can be seen", () =>
  fixture.withPage(async (page) => {
    await setNumbers(page, { "Max. tokens": 4 });
    await ask(page, "Hello");
    for (const view of ["Chat", "API", "Cluster"]) {
      await openTab(page, view);
      // All in one step: what the page takes away between two has no label any more.
      const nameless = await page.evaluate(() =>
        [...document.querySelectorAll("button, input:not([hidden]), textarea, a, [role=tab]")]
          .filter((e) => !(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length))
          .map((e) => e.outerHTML),
      );
      assert.deepEqual(nameless, []);
    }
    await page.keyboard.press("Tab");
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.equal(outline, "solid");
  }));
