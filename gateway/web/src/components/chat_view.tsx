// The conversation: its messages, the box to write in, and the settings beside them.
import { signal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { attach } from "../attachments";
import { answersEnded, runs, send } from "../chat_run";
import { current } from "../conversations";
import { t } from "../i18n";
import { loadPreference, savePreference } from "../preferences";
import { Composer } from "./composer";
import { Icon } from "./icons";
import { MessageView } from "./message_view";
import { SettingsPanel } from "./settings_panel";

// On a narrow screen the panel covers the chat, so it is shown on demand only.
const isWide = () => matchMedia("(min-width: 70rem)").matches;
const settingsOpen = signal(isWide() && loadPreference("settings-open") !== "no");

function toggleSettings(): void {
  settingsOpen.value = !settingsOpen.value;
  if (isWide()) savePreference("settings-open", settingsOpen.value ? "yes" : "no");
}

const dragging = signal(false);

function fileHandlers() {
  const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
  return {
    onDragOver: (event: DragEvent) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      dragging.value = true;
    },
    onDragLeave: (event: DragEvent) => {
      // Moving over a child leaves the parent too.
      if (!(event.currentTarget as Node).contains(event.relatedTarget as Node | null)) dragging.value = false;
    },
    onDrop: (event: DragEvent) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      dragging.value = false;
      for (const file of event.dataTransfer!.files) void attach(file);
    },
  };
}

export function ChatView() {
  return (
    <div class={settingsOpen.value ? "chat settings-open" : "chat"} {...fileHandlers()}>
      <section class="chat-column">
        <MessageList />
        <Composer settingsOpen={settingsOpen.value} onToggleSettings={toggleSettings} />
        {dragging.value && (
          <div class="drop-hint">
            <Icon name="file" />
            {t().dropHere}
          </div>
        )}
      </section>
      {settingsOpen.value && <SettingsPanel onClose={toggleSettings} />}
    </div>
  );
}

function MessageList() {
  const { id, messages } = current.value;
  const run = runs.value.get(id);
  const list = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  useEffect(() => {
    atEnd.current = true;
  }, [id, messages.length]);
  // Follows the text as it grows, unless the reader has scrolled up.
  useLayoutEffect(() => {
    if (atEnd.current && list.current) list.current.scrollTop = list.current.scrollHeight;
  }, [id, messages, run?.text]);
  const onScroll = () => {
    const { scrollHeight, scrollTop, clientHeight } = list.current!;
    atEnd.current = scrollHeight - scrollTop - clientHeight < 48;
  };
  return (
    <div class="messages" ref={list} onScroll={onScroll}>
      {messages.length === 0 ? (
        <Greeting />
      ) : (
        <ol class="message-list" aria-label={t().messages}>
          {messages.map((message, index) => (
            <MessageView
              key={message.id}
              message={message}
              run={run?.messageId === message.id ? run : undefined}
              isLast={index === messages.length - 1}
              isBusy={run !== undefined}
            />
          ))}
        </ol>
      )}
      <p class="off-screen" role="status">
        {run === undefined && answersEnded.value > 0 ? t().answerDone : ""}
      </p>
    </div>
  );
}

function Greeting() {
  return (
    <div class="greeting">
      <h2>{t().greeting}</h2>
      <p>{t().greetingHint}</p>
      <ul class="suggestions">
        {t().suggestions.map((text) => (
          <li key={text}>
            <button type="button" onClick={() => send(text, [])}>
              {text}
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}
