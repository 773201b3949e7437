// Calls of the server's HTTP API. All go to where the page came from.
import { SseParser, type SseEvent } from "./sse";
import type { Failure } from "./types";

/** What GET /cluster answers; see gateway/http/cluster_state.cc. */
export interface ClusterState {
  version: string;
  uptime_seconds: number;
  serving: boolean;
  reason: string;
  grpc_port: number;
  model: {
    name: string;
    architecture: string;
    num_parameters: number;
    max_model_len: number;
    vocab_size: number;
  } | null;
  groups: GroupState[];
}

export interface GroupState {
  address: string;
  build: string;
  device: string;
  numerics_id: string;
  healthy: boolean;
  draining: boolean;
  num_running: number;
  num_waiting: number;
  num_used_kv_blocks: number;
  num_kv_blocks: number;
  kv_block_tokens: number;
  generated_tokens: number;
  ranks: RankState[];
}

export interface RankState {
  rank: number;
  pid: number;
  weight_bytes: number;
  kv_cache_bytes: number;
  peak_rss_bytes: number;
}

/** A request that the server refused, or that did not reach it. */
export class RequestFailed extends Error {
  constructor(readonly failure: Failure) {
    super(failure.message);
  }
}

async function failureOf(response: Response): Promise<Failure> {
  const text = await response.text();
  const retryAfter = Number(response.headers.get("Retry-After") ?? NaN);
  const failure: Failure = { status: response.status, message: text.slice(0, 2000), param: "" };
  if (retryAfter > 0) failure.retryAfterSeconds = retryAfter;
  try {
    const { error } = JSON.parse(text) as { error: { message: string; param?: string | null } };
    return { ...failure, message: error.message, param: error.param ?? "" };
  } catch {
    return failure; // Not from this server: something in between.
  }
}

function post(path: string, body: unknown, signal?: AbortSignal): Promise<Response> {
  return fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal: signal ?? null,
  });
}

export async function countTokens(text: string, signal?: AbortSignal): Promise<number> {
  const response = await post("/tokenize", { prompt: text, add_special_tokens: false }, signal);
  if (!response.ok) throw new RequestFailed(await failureOf(response));
  return ((await response.json()) as { count: number }).count;
}

export async function fetchCluster(): Promise<ClusterState> {
  const response = await fetch("/cluster", { cache: "no-store" });
  if (!response.ok) throw new RequestFailed(await failureOf(response));
  return (await response.json()) as ClusterState;
}

export interface StreamListener {
  onHead(response: Response): void;
  /** `bytes`: as much as has come so far. */
  onEvent(event: SseEvent, bytes: number): void;
}

/** Sends a chat request and reads its events to their end. Throws RequestFailed, or AbortError when `signal` says so. */
export async function streamChat(body: unknown, signal: AbortSignal, listener: StreamListener): Promise<void> {
  const response = await post("/v1/chat/completions", body, signal);
  listener.onHead(response);
  if (!response.ok || !response.body) throw new RequestFailed(await failureOf(response));
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  const parser = new SseParser();
  let bytes = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    bytes += value.length;
    for (const event of parser.push(decoder.decode(value, { stream: true }))) listener.onEvent(event, bytes);
  }
}
