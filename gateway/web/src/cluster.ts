// The server's state, asked for again and again while the page is visible, and its recent history by worker group.
import { signal } from "@preact/signals";
import { fetchCluster, type ClusterState } from "./api_client";
import { addSample, type Histories } from "./cluster_history";

export const cluster = signal<ClusterState | null>(null);
/** "connecting" until the first answer; "unreachable" after a call that failed. */
export const connection = signal<"connecting" | "ok" | "unreachable">("connecting");
export const groups = signal<Histories>(new Map());

const fastMs = 1000;
const slowMs = 5000;
let intervalMs = slowMs;
let timer = 0;
let generation = 0;

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
