import assert from "node:assert/strict";
import { test } from "node:test";
import { fileName } from "./export";
import { formatBytes, formatDuration, formatMs, formatParameters, formatRate } from "./format";

test("numbers are short", () => {
  assert.deepEqual([0, 999, 1000, 12_345, 3_600_000_000].map(formatBytes), ["0 B", "999 B", "1.0 KB", "12.3 KB", "3.6 GB"]);
  assert.deepEqual([3.4, 999.4, 1234, 12_345].map(formatMs), ["3 ms", "999 ms", "1.23 s", "12.3 s"]);
  assert.deepEqual([0, 12.34, 1234.5].map(formatRate), ["0.0", "12.3", "1235"]);
  assert.deepEqual([0, 59.9, 125, 93_784].map(formatDuration), ["0 s", "59 s", "2 min 5 s", "1 d 2 h"]);
  assert.deepEqual([134_515_008, 7_615_616_512].map(formatParameters), ["135 M", "7.6 B"]);
});

test("titles become file names in any script", () => {
  assert.equal(fileName("What's a /KV cache/?", "md"), "What-s-a-KV-cache.md");
  assert.equal(fileName("牛顿第一定律。", "json"), "牛顿第一定律.json");
  assert.equal(fileName("../", "md"), "conversation.md");
});
