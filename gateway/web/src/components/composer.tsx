// The box to write in. Enter sends, Shift+Enter makes a new line, Esc stops an answer.
import { useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { countTokens } from "../api_client";
import { attach, attachmentProblem, attachments, detach, draft, maxFileBytes, takeAttachments } from "../attachments";
import { isRunning, send, stop } from "../chat_run";
import { cluster } from "../cluster";
import { current } from "../conversations";
import { formatBytes, formatCount } from "../format";
import { locale, t } from "../i18n";
import { checkSchema } from "../json_schema";
import { Icon, IconButton } from "./icons";

function canSend(): boolean {
  const { id, settings } = current.value;
  if (isRunning(id) || (draft.value.trim() === "" && attachments.value.length === 0)) return false;
  return settings.format !== "json_schema" || checkSchema(settings.schema).length === 0;
}

function submit(): void {
  if (!canSend()) return;
  const files = takeAttachments();
  send(draft.value.trim() || t().summarise, files);
  draft.value = "";
}

export function Composer({ settingsOpen, onToggleSettings }: { settingsOpen: boolean; onToggleSettings: () => void }) {
  const { id } = current.value;
  const running = isRunning(id);
  const box = useRef<HTMLTextAreaElement>(null);
  const picker = useRef<HTMLInputElement>(null);
  useEffect(() => {
    // On a phone the keyboard would cover what there is to read.
    if (matchMedia("(pointer: fine)").matches) box.current?.focus();
  }, [id]);
  useLayoutEffect(() => {
    // As high as its text, within what the style allows.
    box.current!.style.height = "auto";
    box.current!.style.height = `${box.current!.scrollHeight}px`;
  }, [draft.value]);
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  };
  const onPick = () => {
    for (const file of picker.current!.files ?? []) void attach(file);
    picker.current!.value = "";
  };
  return (
    <div class="composer-area">
      <form
        class="composer"
        onSubmit={(event) => {
          event.preventDefault();
          submit();
        }}
      >
        <Attachments />
        <textarea
          ref={box}
          id="message"
          rows={1}
          aria-label={t().message}
          placeholder={t().messagePlaceholder}
          value={draft.value}
          onInput={(event) => (draft.value = event.currentTarget.value)}
          onKeyDown={onKeyDown}
        />
        <div class="composer-row">
          <IconButton icon="clip" label={t().attach} onClick={() => picker.current?.click()} />
          <input ref={picker} type="file" multiple hidden onChange={onPick} />
          <IconButton
            icon="sliders"
            label={settingsOpen ? t().closeSettings : t().openSettings}
            expanded={settingsOpen}
            onClick={onToggleSettings}
          />
          <ContextUse />
          {running ? (
            <IconButton icon="stop" class="send stop" label={t().stop} onClick={() => stop(id)} />
          ) : (
            <IconButton icon="send" class="send" label={t().send} disabled={!canSend()} onClick={submit} />
          )}
        </div>
      </form>
      <p class="hint keys-hint">{t().keysHint}</p>
    </div>
  );
}

function Attachments() {
  const problem = attachmentProblem.value;
  return (
    <>
      {attachments.value.length > 0 && (
        <ul class="attachments">
          {attachments.value.map((file) => (
            <li class="file-chip" key={file.name}>
              <Icon name="file" />
              <span>{file.name}</span>
              <small>
                {formatBytes(file.bytes)} ·{" "}
                {file.tokens === undefined ? t().counting : t().tokens(formatCount(file.tokens, locale.value))}
              </small>
              <IconButton icon="close" label={t().removeFile(file.name)} onClick={() => detach(file)} />
            </li>
          ))}
        </ul>
      )}
      {problem && (
        <p class="composer-warning" role="alert">
          <Icon name="warning" />
          {problem.kind === "notText" ? t().notText(problem.name) : t().fileTooLarge(problem.name, formatBytes(maxFileBytes))}
        </p>
      )}
    </>
  );
}

const countDelayMs = 350;

/** Tokens of the draft, counted by the server a moment after the last key. */
function useDraftTokens(): number {
  const tokens = useSignal(0);
  useEffect(() => {
    if (draft.value === "") {
      tokens.value = 0;
      return;
    }
    const controller = new AbortController();
    const timer = setTimeout(() => {
      countTokens(draft.value, controller.signal).then(
        (count) => (tokens.value = count),
        () => {}, // No count, no number.
      );
    }, countDelayMs);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [draft.value]);
  return tokens.value;
}

function ContextUse() {
  const drafted = useDraftTokens();
  const limit = cluster.value?.model?.max_model_len ?? 0;
  const stats = current.value.messages.findLast(({ stats }) => stats !== undefined)?.stats;
  const attached = attachments.value.reduce((sum, file) => sum + (file.tokens ?? 0), 0);
  const used = (stats ? stats.promptTokens + stats.completionTokens : 0) + attached + drafted;
  if (limit === 0 || used === 0) return <span class="context-use" />;
  const count = (value: number) => formatCount(value, locale.value);
  if (used >= limit) {
    return (
      <span class="context-use over" role="alert">
        {t().overContext(count(used), count(limit))}
      </span>
    );
  }
  return <span class="context-use">{t().contextUse(count(used), count(limit))}</span>;
}
