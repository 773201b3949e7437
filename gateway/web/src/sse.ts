// Server-sent events out of a stream of bytes (HTML Living Standard, 9.2.6), for POST requests, which EventSource can't make.

export interface SseEvent {
  /** The lines as they came, without the empty one that ends them. */
  raw: string;
  /** Its data lines joined; undefined for a comment. */
  data?: string;
}

/** Feed it text as it comes; it returns the events that are complete. */
export class SseParser {
  private rest = "";

  push(text: string): SseEvent[] {
    this.rest += text;
    const events: SseEvent[] = [];
    for (;;) {
      const end = /\r?\n\r?\n/.exec(this.rest);
      if (!end) return events;
      const raw = this.rest.slice(0, end.index);
      this.rest = this.rest.slice(end.index + end[0].length);
      if (raw !== "") events.push(parse(raw));
    }
  }
}

function parse(raw: string): SseEvent {
  const data = raw
    .split(/\r?\n/)
    .filter((line) => line.startsWith("data:"))
    .map((line) => line.slice(line[5] === " " ? 6 : 5));
  return data.length === 0 ? { raw } : { raw, data: data.join("\n") };
}
