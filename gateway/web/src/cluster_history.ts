// The recent past of each worker group, gathered from one GET /cluster after another.
import type { ClusterState, GroupState } from "./api_client";

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

/** By address. */
export type Histories = ReadonlyMap<string, GroupHistory>;

export const historySeconds = 120;

/** The histories with one more state; groups that it does not name any more stay, not attached. */
export function addSample(before: Histories, state: ClusterState): Histories {
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
