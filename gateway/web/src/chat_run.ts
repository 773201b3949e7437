// Asking for answers: send, stop, regenerate, edit and send again. One answer at a time in each conversation.
import { signal } from "@preact/signals";
import { AnswerReader } from "./answer_reader";
import { RequestFailed, streamChat } from "./api_client";
import { cluster } from "./cluster";
import { change, changeMessage, current, find, newId, titleOf } from "./conversations";
import { ExchangeRecorder } from "./exchange_log";
import { requestBody, withoutLastAnswer } from "./request_body";
import type { AnswerStats, AttachedFile, Failure, Message } from "./types";

/** An answer under way. */
export interface Run {
  messageId: string;
  text: string;
  stats?: AnswerStats;
}

/** By conversation. */
export const runs = signal<ReadonlyMap<string, Run>>(new Map());
/** Counts the answers that have ended, for those who announce it. */
export const answersEnded = signal(0);

const controllers = new Map<string, AbortController>();
// Markdown is rendered anew for each of these.
const showIntervalMs = 50;

export function isRunning(conversationId: string): boolean {
  return runs.value.has(conversationId);
}

function setRun(conversationId: string, run: Run | null): void {
  const next = new Map(runs.value);
  if (run) next.set(conversationId, run);
  else next.delete(conversationId);
  runs.value = next;
}

export function stop(conversationId: string): void {
  controllers.get(conversationId)?.abort();
}

export function send(content: string, files: AttachedFile[]): void {
  const { id } = current.value;
  if (isRunning(id)) return;
  const message: Message = { id: newId(), role: "user", content, ...(files.length > 0 ? { files } : {}) };
  change(id, ({ messages, title }) => ({
    messages: [...messages, message],
    title: title || titleOf(content || files[0]?.name || ""),
  }));
  void answer(id);
}

/** Asks again for the answer `messageId` (and drops what follows it). */
export function regenerate(messageId: string): void {
  cutBefore(messageId, []);
}

/** Asks the last question of the shown conversation again. */
export function askAgain(): void {
  const { id } = current.value;
  if (isRunning(id)) return;
  change(id, ({ messages }) => ({ messages: withoutLastAnswer(messages) }));
  void answer(id);
}

/** Puts another text in place of the user's message, drops what follows, and asks again. */
export function resend(message: Message, content: string): void {
  cutBefore(message.id, [{ ...message, id: newId(), content }]);
}

function cutBefore(messageId: string, replacement: Message[]): void {
  const { id } = current.value;
  if (isRunning(id)) return;
  change(id, ({ messages }) => {
    const at = messages.findIndex((message) => message.id === messageId);
    return { messages: [...messages.slice(0, at), ...replacement] };
  });
  void answer(id);
}

function failureOf(error: unknown): Failure {
  if (error instanceof RequestFailed) return error.failure;
  return { status: 0, message: error instanceof Error ? error.message : String(error), param: "" };
}

// Streams the answer to a conversation's messages and appends it.
async function answer(conversationId: string): Promise<void> {
  const conversation = find(conversationId);
  if (!conversation) return;
  const { settings } = conversation;
  const body = requestBody(settings, conversation.messages, cluster.peek()?.model?.name);
  const message: Message = { id: newId(), role: "assistant", content: "" };
  if (settings.format !== "text") message.json = true;
  if (settings.format === "json_schema") message.schema = settings.schema;
  change(conversationId, ({ messages }) => ({ messages: [...messages, message] }));

  const controller = new AbortController();
  controllers.set(conversationId, controller);
  const recorder = new ExchangeRecorder(body);
  const reader = new AnswerReader(recorder.sentAt);
  const show = () => setRun(conversationId, { messageId: message.id, text: reader.text, stats: reader.stats });
  show();
  let shownAt = 0;
  const result: Partial<Message> = {};
  let refusal: string | undefined;
  try {
    await streamChat(body, controller.signal, {
      onHead: (response) => recorder.onHead(response),
      onEvent: (event, bytes) => {
        recorder.onEvent(event, bytes);
        if (event.data === undefined) return;
        reader.take(event.data);
        if (performance.now() - shownAt < showIntervalMs) return;
        shownAt = performance.now();
        show();
      },
    });
    reader.end();
    if (reader.failure) result.failure = reader.failure;
  } catch (error) {
    if (controller.signal.aborted) {
      result.stopped = true;
    } else {
      result.failure = failureOf(error);
      // A stream that breaks is not a server that can't be reached.
      if (result.failure.status === 0 && reader.text !== "") result.failure.status = -1;
      refusal = result.failure.message;
    }
  }
  controllers.delete(conversationId);
  recorder.end(refusal);
  changeMessage(conversationId, message.id, { ...result, content: reader.text, stats: reader.stats });
  setRun(conversationId, null);
  answersEnded.value += 1;
}
