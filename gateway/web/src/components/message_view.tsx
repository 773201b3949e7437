// One message: what was said, how it went, and what can be done with it.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { regenerate, resend, type Run } from "../chat_run";
import { formatBytes, formatCount, formatMs, formatRate } from "../format";
import { locale, t } from "../i18n";
import { checkAnswer } from "../json_schema";
import { highlight, renderMarkdown } from "../markdown";
import type { AnswerStats, Message } from "../types";
import { CopyButton, copyText } from "./copy_button";
import { FailureNote } from "./failure_note";
import { Icon, IconButton } from "./icons";

interface Props {
  message: Message;
  /** Set while the answer comes. */
  run: Run | undefined;
  isLast: boolean;
  isBusy: boolean;
}

export function MessageView(props: Props) {
  return props.message.role === "user" ? <UserMessage {...props} /> : <AssistantMessage {...props} />;
}

function UserMessage({ message, isBusy }: Props) {
  const [editing, setEditing] = useState(false);
  const finish = (text: string | null) => {
    setEditing(false);
    if (text !== null) resend(message, text);
  };
  return (
    <li class="message user">
      <h3 class="off-screen">{t().you}</h3>
      {message.files?.map((file) => (
        <div class="file-chip" key={file.name}>
          <Icon name="file" />
          <span>{file.name}</span>
          <small>
            {formatBytes(file.bytes)}
            {file.tokens !== undefined && ` · ${t().tokens(formatCount(file.tokens, locale.value))}`}
          </small>
        </div>
      ))}
      {editing ? <Editor text={message.content} onDone={finish} /> : message.content && <p class="bubble">{message.content}</p>}
      {!editing && (
        <div class="message-actions">
          <CopyButton text={() => message.content} />
          <IconButton icon="pencil" label={t().edit} disabled={isBusy} onClick={() => setEditing(true)} />
        </div>
      )}
    </li>
  );
}

function Editor({ text, onDone }: { text: string; onDone: (text: string | null) => void }) {
  const [value, setValue] = useState(text);
  const box = useRef<HTMLTextAreaElement>(null);
  useEffect(() => box.current?.focus(), []);
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Escape") onDone(null);
    else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) onDone(value);
    else return;
    event.preventDefault();
  };
  return (
    <div class="editor">
      <textarea
        ref={box}
        aria-label={t().editMessage}
        rows={Math.min(12, value.split("\n").length + 1)}
        value={value}
        onInput={(event) => setValue(event.currentTarget.value)}
        onKeyDown={onKeyDown}
      />
      <div class="dialog-buttons">
        <button type="button" class="button" onClick={() => onDone(null)}>
          {t().cancel}
        </button>
        <button type="button" class="button primary" onClick={() => onDone(value)}>
          {t().resend}
        </button>
      </div>
    </div>
  );
}

function AssistantMessage({ message, run, isBusy }: Props) {
  const content = run ? run.text : message.content;
  return (
    <li class="message assistant" aria-busy={run !== undefined}>
      <h3 class="off-screen">{t().assistant}</h3>
      {run && content === "" && (
        <p class="waiting">
          <span class="pulse" aria-hidden="true" />
          <span class="off-screen">{t().thinking}</span>
        </p>
      )}
      {content !== "" && (message.json ? <JsonContent text={content} /> : <MarkdownContent text={content} />)}
      {message.json && content !== "" && <JsonVerdict text={content} schema={message.schema} isWhole={!run} />}
      {message.failure && <FailureNote failure={message.failure} onRetry={isBusy ? undefined : () => regenerate(message.id)} />}
      <div class="message-foot">
        <Stats stats={run ? run.stats : message.stats} stopped={message.stopped ?? false} />
        {!run && (
          <div class="message-actions">
            <CopyButton text={() => message.content} />
            <IconButton icon="redo" label={t().regenerate} disabled={isBusy} onClick={() => regenerate(message.id)} />
          </div>
        )}
      </div>
    </li>
  );
}

function MarkdownContent({ text }: { text: string }) {
  const root = useRef<HTMLDivElement>(null);
  const html = useMemo(() => renderMarkdown(text), [text]);
  // The buttons are part of the rendered text; their names are in the page's language.
  useEffect(() => {
    for (const button of root.current!.querySelectorAll(".copy-code")) button.textContent = t().copy;
  });
  const onClick = (event: MouseEvent) => {
    const button = (event.target as Element).closest(".copy-code");
    if (!button) return;
    void copyText(button.closest(".code-block")?.querySelector("code")?.textContent ?? "");
    button.textContent = t().copied;
  };
  return <div ref={root} class="markdown" onClick={onClick} dangerouslySetInnerHTML={{ __html: html }} />;
}

function JsonContent({ text }: { text: string }) {
  const html = useMemo(() => highlight(text, "json"), [text]);
  return (
    <pre class="json-answer" tabIndex={0}>
      <code dangerouslySetInnerHTML={{ __html: html }} />
    </pre>
  );
}

function JsonVerdict({ text, schema, isWhole }: { text: string; schema: string | undefined; isWhole: boolean }) {
  const problems = useMemo(() => checkAnswer(text, schema), [text, schema]);
  if (problems.length === 0) {
    return (
      <p class="verdict good">
        <Icon name="check" />
        {schema ? t().fitsSchema : t().jsonValid}
      </p>
    );
  }
  if (!isWhole) return <p class="verdict">{t().jsonIncomplete}</p>;
  const isJson = problems[0]!.path !== "" || checkAnswer(text).length === 0;
  return (
    <div class="verdict bad">
      <p>
        <Icon name="warning" />
        {isJson ? t().breaksSchema : t().jsonInvalid}
      </p>
      <ul>
        {problems.slice(0, 5).map(({ path, message }) => (
          <li key={path + message}>
            {path && <code>{path}</code>} {message}
          </li>
        ))}
      </ul>
    </div>
  );
}

function Stats({ stats, stopped }: { stats: AnswerStats | undefined; stopped: boolean }) {
  if (!stats) return <p class="stats">{stopped && t().stopped}</p>;
  const count = (value: number) => formatCount(value, locale.value);
  const parts = [
    t().tokens((stats.exact ? "" : "≈ ") + count(stats.completionTokens)),
    stats.tokensPerSecond > 0 && t().tokensPerSecond(formatRate(stats.tokensPerSecond)),
    stats.firstTokenMs > 0 && t().firstToken(formatMs(stats.firstTokenMs)),
    stats.promptTokens > 0 && t().promptTokens(count(stats.promptTokens)),
    stats.finishReason === "length" && t().cut,
    stopped && t().stopped,
  ];
  return <p class="stats">{parts.filter((part) => part !== false).join(" · ")}</p>;
}
