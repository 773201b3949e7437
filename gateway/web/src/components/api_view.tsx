// The request as code, and what comes back as it comes.
import { signal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { attachments, draft, takeAttachments } from "../attachments";
import { askAgain, isRunning, send, stop } from "../chat_run";
import { cluster } from "../cluster";
import { curlCode, grpcurlCode, pythonCode } from "../code_samples";
import { current } from "../conversations";
import { lastExchange, type LoggedExchange } from "../exchange_log";
import { download } from "../export";
import { formatBytes, formatCount, formatMs } from "../format";
import { locale, t } from "../i18n";
import { highlight } from "../markdown";
import { nextRequest, type RequestBody } from "../request_body";
import type { AttachedFile } from "../types";
import { CopyButton } from "./copy_button";
import { Icon, IconButton } from "./icons";
import { Tabs } from "./tabs";

type Sample = "curl" | "python" | "grpc" | "json";
const sample = signal<Sample>("curl");
const shownEvents = 300;

export function ApiView() {
  return (
    <div class="api">
      <RequestPane />
      <EventsPane />
    </div>
  );
}

function sampleCode(body: RequestBody): [code: string, language: string] {
  const { origin, hostname } = location;
  if (sample.value === "python") return [pythonCode(origin, body), "python"];
  if (sample.value === "grpc") return [grpcurlCode(hostname, cluster.value?.grpc_port ?? 0, body), "bash"];
  if (sample.value === "json") return [JSON.stringify(body, null, 2), "json"];
  return [curlCode(origin, body), "bash"];
}

function RequestPane() {
  const { id } = current.value;
  const question = nextQuestion();
  const body = nextRequest(current.value, question, cluster.value?.model?.name);
  const [code, language] = sampleCode(body);
  const html = useMemo(() => highlight(code, language), [code, language]);
  const note = { python: t().pythonNote, grpc: t().grpcNote, curl: "", json: "" }[sample.value];
  const run = () => {
    if (!question) return askAgain();
    send(question.content, takeAttachments());
    draft.value = "";
  };
  const tabs: { name: Sample; label: string }[] = [
    { name: "curl", label: "curl" },
    { name: "python", label: "Python" },
    { name: "grpc", label: "gRPC" },
    { name: "json", label: "JSON" },
  ];
  return (
    <section class="pane" aria-labelledby="request-title">
      <div class="pane-head">
        <h2 id="request-title">{t().request}</h2>
        <Tabs tabs={tabs} selected={sample.value} label={t().codeLanguage} idPrefix="code" onSelect={(name) => (sample.value = name)} />
        <CopyButton text={() => code} withLabel />
      </div>
      <p class="hint">{t().apiIntro}</p>
      <div class="pane-body" id={`code-${sample.value}`} role="tabpanel" aria-labelledby={`code-tab-${sample.value}`}>
        <pre class="code-sample" tabIndex={0}>
          <code dangerouslySetInnerHTML={{ __html: html }} />
        </pre>
        {note && <p class="hint">{note}</p>}
      </div>
      <div class="pane-foot">
        {isRunning(id) ? (
          <button type="button" class="button" onClick={() => stop(id)}>
            <Icon name="stop" />
            {t().stop}
          </button>
        ) : (
          <button type="button" class="button primary" onClick={run}>
            <Icon name="play" />
            {t().run}
          </button>
        )}
      </div>
    </section>
  );
}

// What the user has begun to write, or an example where there is nothing yet; null: the last question again.
function nextQuestion(): { content: string; files: AttachedFile[] } | null {
  const files = attachments.value;
  if (draft.value !== "" || files.length > 0) return { content: draft.value || t().summarise, files };
  return current.value.messages.length > 0 ? null : { content: t().suggestions[0]!, files };
}

function EventsPane() {
  const exchange = lastExchange.value;
  return (
    <section class="pane" aria-labelledby="events-title">
      <div class="pane-head">
        <h2 id="events-title">{t().events}</h2>
        {exchange && (
          <div class="pane-tools">
            <CopyButton text={() => rawText(exchange)} />
            <IconButton icon="download" label={t().download} onClick={() => download("events.txt", "text/plain", rawText(exchange))} />
            <IconButton icon="trash" label={t().clear} onClick={() => (lastExchange.value = null)} />
          </div>
        )}
      </div>
      {exchange ? <Exchange exchange={exchange} /> : <p class="empty">{t().noEvents}</p>}
    </section>
  );
}

function rawText(exchange: LoggedExchange): string {
  return exchange.refusal ?? exchange.events.map(({ raw }) => `${raw}\n\n`).join("");
}

function Exchange({ exchange }: { exchange: LoggedExchange }) {
  const { status, events, endedMs, headers } = exchange;
  const log = useRef<HTMLOListElement>(null);
  const hidden = Math.max(0, events.length - shownEvents);
  useEffect(() => {
    if (log.current) log.current.scrollTop = log.current.scrollHeight;
  }, [events.length]);
  return (
    <>
      <dl class="facts">
        <div>
          <dt>{t().statusLine}</dt>
          <dd class={status >= 400 ? "bad" : ""}>{status || "…"}</dd>
        </div>
        <div>
          <dt>{t().duration}</dt>
          <dd>{endedMs === undefined ? "…" : formatMs(endedMs)}</dd>
        </div>
        <div>
          <dt>{t().eventCount}</dt>
          <dd>{formatCount(events.length, locale.value)}</dd>
        </div>
        <div>
          <dt>{t().bytes}</dt>
          <dd>{formatBytes(exchange.bytes)}</dd>
        </div>
      </dl>
      <details class="headers">
        <summary>{t().responseHeaders}</summary>
        <pre tabIndex={0}>{headers.map(([name, value]) => `${name}: ${value}`).join("\n")}</pre>
      </details>
      {exchange.refusal !== undefined && <p class="failure">{exchange.refusal}</p>}
      {hidden > 0 && <p class="hint">{t().eventsHidden(formatCount(hidden, locale.value))}</p>}
      <ol class="event-log" ref={log} tabIndex={0} aria-label={t().events}>
        {events.slice(hidden).map(({ ms, raw, isComment }, index) => (
          <li key={hidden + index} class={isComment ? "comment" : ""}>
            <time>{formatMs(ms)}</time>
            <code>{raw}</code>
          </li>
        ))}
      </ol>
    </>
  );
}
