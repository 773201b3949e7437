// Makes an answer out of the events of a chat stream: its text, how fast it came, and whether it is whole.
import type { AnswerStats, Failure } from "./types";

interface Chunk {
  choices?: { delta?: { content?: string | null }; finish_reason?: string | null }[];
  usage?: { prompt_tokens: number; completion_tokens: number } | null;
  error?: { message: string; param?: string | null; code?: string | number | null };
}

export class AnswerReader {
  text = "";
  failure: Failure | undefined;
  private done = false;
  private finishReason = "";
  private events = 0;
  private firstAt = 0;
  private lastAt = 0;
  private usage: Chunk["usage"];

  /** `now`: a clock in milliseconds; `sentAt`: when the request was sent, by that clock. */
  constructor(
    private readonly sentAt: number,
    private readonly now: () => number = () => performance.now(),
  ) {}

  take(data: string): void {
    if (data === "[DONE]") {
      this.done = true;
      return;
    }
    let chunk: Chunk;
    try {
      chunk = JSON.parse(data) as Chunk;
    } catch {
      this.failure = { status: -1, message: `not JSON: ${data.slice(0, 200)}`, param: "" };
      return;
    }
    if (chunk.error) this.failure = { status: -1, message: chunk.error.message, param: chunk.error.param ?? "" };
    if (chunk.usage) this.usage = chunk.usage;
    const choice = chunk.choices?.[0];
    if (choice?.finish_reason) this.finishReason = choice.finish_reason;
    const content = choice?.delta?.content;
    if (!content) return;
    this.text += content;
    this.lastAt = this.now();
    if (this.events++ === 0) this.firstAt = this.lastAt;
  }

  /** Call when the stream is over: one without [DONE] was cut. */
  end(): void {
    if (!this.done && !this.failure) this.failure = { status: -1, message: "", param: "" };
  }

  get stats(): AnswerStats | undefined {
    if (this.events === 0 && !this.usage) return undefined;
    // One event may carry several tokens; the exact number comes last.
    const tokens = this.usage?.completion_tokens ?? this.events;
    const seconds = (this.lastAt - this.firstAt) / 1000;
    return {
      promptTokens: this.usage?.prompt_tokens ?? 0,
      completionTokens: tokens,
      exact: this.usage !== undefined && this.usage !== null,
      firstTokenMs: this.events === 0 ? 0 : this.firstAt - this.sentAt,
      tokensPerSecond: seconds > 0 && tokens > 1 ? (tokens - 1) / seconds : 0,
      finishReason: this.finishReason,
    };
  }
}
