// The list of conversations, and what can be done with each.
import { useEffect, useRef, useState } from "preact/hooks";
import { runs } from "../chat_run";
import { change, conversations, current, remove, select, startConversation, storageWorks } from "../conversations";
import { download, fileName, toMarkdown } from "../export";
import { t } from "../i18n";
import type { Conversation } from "../types";
import { Dialog } from "./dialog";
import { Icon, IconButton } from "./icons";

type Question = { kind: "rename" | "remove"; conversation: Conversation } | null;

export function Sidebar({ onChosen }: { onChosen: () => void }) {
  const [question, setQuestion] = useState<Question>(null);
  const begin = () => {
    startConversation();
    onChosen();
  };
  return (
    <>
      <button type="button" class="button new-chat" onClick={begin}>
        <Icon name="plus" />
        {t().newChat}
      </button>
      <nav class="conversation-list" aria-label={t().conversations}>
        <ul>
          {conversations.value.map((conversation) => (
            <Row key={conversation.id} conversation={conversation} ask={setQuestion} onChosen={onChosen} />
          ))}
        </ul>
      </nav>
      <p class={storageWorks.value ? "hint" : "hint warning"}>{storageWorks.value ? t().storedHere : t().storageFailed}</p>
      {question?.kind === "remove" && (
        <Dialog
          title={t().removeTitle}
          confirm={t().remove}
          danger
          onConfirm={() => void remove(question.conversation.id)}
          onClose={() => setQuestion(null)}
        >
          <p>{t().removeText(question.conversation.title || t().untitled)}</p>
        </Dialog>
      )}
      {question?.kind === "rename" && <RenameDialog conversation={question.conversation} onClose={() => setQuestion(null)} />}
    </>
  );
}

function RenameDialog({ conversation, onClose }: { conversation: Conversation; onClose: () => void }) {
  const [title, setTitle] = useState(conversation.title);
  const rename = () => change(conversation.id, () => ({ title: title.trim() }));
  return (
    <Dialog title={t().renameTitle} confirm={t().save} onConfirm={rename} onClose={onClose}>
      <label class="field">
        <span>{t().name}</span>
        <input value={title} maxLength={120} autofocus onInput={(event) => setTitle(event.currentTarget.value)} />
      </label>
    </Dialog>
  );
}

function Row(props: { conversation: Conversation; ask: (question: Question) => void; onChosen: () => void }) {
  const { conversation } = props;
  const title = conversation.title || t().untitled;
  const isCurrent = conversation.id === current.value.id;
  const choose = () => {
    select(conversation.id);
    props.onChosen();
  };
  return (
    <li class={isCurrent ? "conversation current" : "conversation"}>
      <button type="button" class="conversation-title" aria-current={isCurrent ? "page" : undefined} onClick={choose}>
        {title}
        {runs.value.has(conversation.id) && <span class="pulse" aria-hidden="true" />}
      </button>
      <ConversationMenu conversation={conversation} title={title} ask={props.ask} />
    </li>
  );
}

function ConversationMenu(props: { conversation: Conversation; title: string; ask: (question: Question) => void }) {
  const { conversation, title } = props;
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!open) return;
    root.current?.querySelector<HTMLElement>("[role=menuitem]")?.focus();
    const closeOutside = (event: Event) => {
      if (!root.current?.contains(event.target as Node)) setOpen(false);
    };
    addEventListener("pointerdown", closeOutside);
    return () => removeEventListener("pointerdown", closeOutside);
  }, [open]);
  const close = () => {
    setOpen(false);
    root.current?.querySelector("button")?.focus();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (!open) return;
    const items = [...root.current!.querySelectorAll<HTMLElement>("[role=menuitem]")];
    const at = items.indexOf(document.activeElement as HTMLElement);
    if (event.key === "Escape") close();
    else if (event.key === "ArrowDown") items[(at + 1) % items.length]!.focus();
    else if (event.key === "ArrowUp") items[(at - 1 + items.length) % items.length]!.focus();
    else if (event.key === "Tab") return setOpen(false);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const names = { user: t().you, assistant: t().assistant };
  const actions: [string, () => void][] = [
    [t().rename, () => props.ask({ kind: "rename", conversation })],
    [t().exportMarkdown, () => download(fileName(title, "md"), "text/markdown", toMarkdown({ ...conversation, title }, names))],
    [t().exportJson, () => download(fileName(title, "json"), "application/json", JSON.stringify(conversation, null, 2))],
    [t().remove, () => props.ask({ kind: "remove", conversation })],
  ];
  return (
    <div class="menu" ref={root} onKeyDown={onKeyDown}>
      <IconButton icon="dots" label={t().moreActions(title)} popup="menu" expanded={open} onClick={() => setOpen(!open)} />
      {open && (
        <div class="menu-items" role="menu" aria-label={t().moreActions(title)}>
          {actions.map(([label, run]) => (
            <button
              key={label}
              type="button"
              role="menuitem"
              tabIndex={-1}
              onClick={() => {
                close();
                run();
              }}
            >
              {label}
            </button>
          ))}
        </div>
      )}
    </div>
  );
}
