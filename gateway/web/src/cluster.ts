// The server's state, asked for again and again while the page is visible, and its recent history by worker group.
import { signal } from "@preact/signals";
import { fetchCluster, type ClusterState, type GroupState } from "./api_client";

export interface Sample {
  /** Server's uptime when it was taken. */
  at: number;
  running: number;
  waiting: number;
  /** 0 to 1. */
  kvUse: number;
  tokensPerSecond: number;
}

export interface GroupHistory {
  state: GroupState;
  attached: boolean;
  samples: Sample[];
}

export const cluster = signal<ClusterState | null>(null);
/** "connecting" until the first answer; "unreachable" after a call that failed. */
export const connection = signal<"connecting" | "ok" | "unreachable">("connecting");
/** By address; groups that are gone stay, not attached. */
export const groups = signal<ReadonlyMap<string, GroupHistory>>(new Map());

export const historySeconds = 120;
const fastMs = 1000;
const slowMs = 5000;
let intervalMs = slowMs;
let timer = 0;
let generation = 0;

/** Adds a state to the history. Exported for its test. */
export function addSample(
  before: ReadonlyMap<string, GroupHistory>,
  state: ClusterState,
): ReadonlyMap<string, GroupHistory> {
  const at = state.uptime_seconds;
  const next = new Map<string, GroupHistory>();
  for (const [address, history] of before) next.set(address, { ...history, attached: false });
  for (const group of state.groups) {
    const known = before.get(group.address);
    const last = known?.samples[known.samples.length - 1];
    // A gateway or group that began anew counts from 0.
    const isSame = last !== undefined && known!.attached && last.at < at;
    const produced = isSame ? group.generated_tokens - known!.state.generated_tokens : 0;
    const sample: Sample = {
      at,
      running: group.num_running,
      waiting: group.num_waiting,
      kvUse: group.num_kv_blocks === 0 ? 0 : group.num_used_kv_blocks / group.num_kv_blocks,
      tokensPerSecond: isSame ? Math.max(0, produced) / (at - last.at) : 0,
    };
    const samples = (known?.samples ?? []).filter((old) => old.at > at - historySeconds && old.at < at);
    next.set(group.address, { state: group, attached: true, samples: [...samples, sample] });
  }
  return next;
}

async function poll(mine: number): Promise<void> {
  try {
    const state = await fetchCluster();
    if (mine !== generation) return;
    groups.value = addSample(groups.value, state);
    cluster.value = state;
    connection.value = "ok";
  } catch {
    if (mine !== generation) return;
    connection.value = "unreachable";
  }
  schedule(intervalMs);
}

function schedule(delayMs: number): void {
  clearTimeout(timer);
  const mine = ++generation;
  if (document.hidden) return;
  timer = window.setTimeout(() => void poll(mine), delayMs);
}

/** Once a second while somebody looks at the numbers, else every few seconds. */
export function watchCluster(fast: boolean): void {
  intervalMs = fast ? fastMs : slowMs;
  schedule(0);
}

document.addEventListener("visibilitychange", () => schedule(0));
