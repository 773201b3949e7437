// The last request with all that came back, as the API view shows it.
import { signal } from "@preact/signals";
import type { RequestBody } from "./request_body";
import type { SseEvent } from "./sse";

export interface LoggedEvent {
  /** Since the request was sent. */
  ms: number;
  raw: string;
  isComment: boolean;
}

export interface LoggedExchange {
  body: RequestBody;
  sentAt: number;
  /** 0 until the head is there. */
  status: number;
  headers: [string, string][];
  events: LoggedEvent[];
  bytes: number;
  /** Set at the end. */
  endedMs?: number;
  /** A body that is not a stream: a refusal. */
  refusal?: string;
}

export const lastExchange = signal<LoggedExchange | null>(null);

/** Records one exchange; the signal follows at most every `intervalMs`, however fast events come. */
export class ExchangeRecorder {
  private readonly exchange: LoggedExchange;
  private timer = 0;

  constructor(
    body: RequestBody,
    private readonly intervalMs = 60,
  ) {
    this.exchange = { body, sentAt: performance.now(), status: 0, headers: [], events: [], bytes: 0 };
    this.publish();
  }

  get sentAt(): number {
    return this.exchange.sentAt;
  }

  onHead(response: Response): void {
    this.exchange.status = response.status;
    this.exchange.headers = [...response.headers];
    this.publish();
  }

  onEvent(event: SseEvent, bytes: number): void {
    const ms = performance.now() - this.exchange.sentAt;
    this.exchange.events.push({ ms, raw: event.raw, isComment: event.data === undefined });
    this.exchange.bytes = bytes;
    if (this.timer === 0) this.timer = window.setTimeout(() => this.publish(), this.intervalMs);
  }

  end(refusal?: string): void {
    this.exchange.endedMs = performance.now() - this.exchange.sentAt;
    if (refusal !== undefined) this.exchange.refusal = refusal;
    this.publish();
  }

  private publish(): void {
    clearTimeout(this.timer);
    this.timer = 0;
    // Another request may have taken its place.
    const shown = lastExchange.peek();
    if (shown !== null && shown.sentAt > this.exchange.sentAt) return;
    lastExchange.value = { ...this.exchange };
  }
}
