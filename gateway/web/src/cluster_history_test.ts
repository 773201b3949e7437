import assert from "node:assert/strict";
import { test } from "node:test";
import type { ClusterState, GroupState } from "./api_client";
import { addSample, historySeconds, type Histories } from "./cluster_history";

function state(at: number, ...groups: [address: string, tokens: number][]): ClusterState {
  return {
    uptime_seconds: at,
    groups: groups.map(
      ([address, generated_tokens]) =>
        ({ address, generated_tokens, num_running: 1, num_waiting: 2, num_used_kv_blocks: 5, num_kv_blocks: 20 }) as GroupState,
    ),
  } as ClusterState;
}

function play(...states: ClusterState[]): Histories {
  return states.reduce(addSample, new Map() as Histories);
}

const rates = (histories: Histories, address: string) => histories.get(address)!.samples.map((sample) => sample.tokensPerSecond);

test("rates come from counters and the server's clock, for each group", () => {
  const histories = play(state(1, ["a", 100], ["b", 7]), state(3, ["a", 200], ["b", 7]));
  assert.deepEqual(rates(histories, "a"), [0, 50]);
  assert.deepEqual(rates(histories, "b"), [0, 0]);
  assert.equal(histories.get("a")!.samples[1]!.kvUse, 0.25);
});

test("a group that went away is kept, and begins anew when it is back", () => {
  const gone = play(state(1, ["a", 100], ["b", 1]), state(2, ["b", 2]));
  assert.equal(gone.get("a")!.attached, false);
  assert.equal(gone.get("b")!.attached, true);
  const back = addSample(gone, state(3, ["a", 40], ["b", 2]));
  assert.equal(back.get("a")!.attached, true);
  assert.deepEqual(rates(back, "a"), [0, 0]);
});

test("a restarted server and old samples leave no trace", () => {
  assert.deepEqual(rates(play(state(500, ["a", 900]), state(1, ["a", 5])), "a"), [0]);
  const long = play(state(1, ["a", 0]), state(2, ["a", 0]), state(historySeconds + 2, ["a", 0]));
  assert.deepEqual(long.get("a")!.samples.map(({ at }) => at), [historySeconds + 2]);
});
