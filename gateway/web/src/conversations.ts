// The user's conversations: what there is, which one is shown, and how they change. Every change makes a new object, so that
// what did not change need not be rendered again.
import { computed, signal } from "@preact/signals";
import { ConversationStore } from "./conversation_store";
import { loadPreference, savePreference } from "./preferences";
import type { Conversation, Message, Settings } from "./types";

export const conversations = signal<Conversation[]>([]);
export const currentId = signal("");
export const storageWorks = signal(true);

/** The shown one. There always is one after loadConversations. */
export const current = computed<Conversation>(
  () => conversations.value.find(({ id }) => id === currentId.value) ?? conversations.value[0] ?? blank(),
);

let store: ConversationStore | undefined;
const unsaved = new Map<string, number>();
const saveDelayMs = 400;

export function newId(): string {
  // randomUUID is there only on https and localhost.
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export const defaultSettings: Settings = { system: "", format: "text", schema: "" };

// A new conversation begins with the settings that were chosen last.
function lastSettings(): Settings {
  try {
    return { ...defaultSettings, ...(JSON.parse(loadPreference("settings") ?? "{}") as Partial<Settings>) };
  } catch {
    return defaultSettings;
  }
}

function blank(): Conversation {
  const now = Date.now();
  return { id: newId(), title: "", created: now, updated: now, settings: lastSettings(), messages: [] };
}

export async function loadConversations(): Promise<void> {
  store = await ConversationStore.open();
  storageWorks.value = store.isPersistent;
  conversations.value = await store.load();
  const last = loadPreference("conversation");
  if (conversations.value.some(({ id }) => id === last)) currentId.value = last!;
  else startConversation();
}

export function select(id: string): void {
  currentId.value = id;
  savePreference("conversation", id);
}

/** Shows an empty conversation: a new one, or one that is still empty. */
export function startConversation(): void {
  const empty = conversations.value.find(({ messages, title }) => messages.length === 0 && title === "");
  if (empty) return select(empty.id);
  const conversation = blank();
  conversations.value = [conversation, ...conversations.value];
  select(conversation.id);
}

export function find(id: string): Conversation | undefined {
  return conversations.value.find((conversation) => conversation.id === id);
}

function saveSoon(id: string): void {
  if (unsaved.has(id)) return;
  unsaved.set(id, window.setTimeout(() => void saveNow(id), saveDelayMs));
}

async function saveNow(id: string): Promise<void> {
  clearTimeout(unsaved.get(id));
  unsaved.delete(id);
  const conversation = find(id);
  // An empty one is not worth a record.
  if (!conversation || (conversation.messages.length === 0 && conversation.title === "")) return;
  try {
    await store?.save(conversation);
  } catch {
    storageWorks.value = false;
  }
}

// What is not saved when the page goes would be lost.
addEventListener("pagehide", () => unsaved.forEach((_, id) => void saveNow(id)));

export function change(id: string, what: (conversation: Conversation) => Partial<Conversation>): void {
  conversations.value = conversations.value.map((conversation) =>
    conversation.id === id ? { ...conversation, updated: Date.now(), ...what(conversation) } : conversation,
  );
  saveSoon(id);
}

export function changeMessage(id: string, messageId: string, what: Partial<Message>): void {
  change(id, ({ messages }) => ({
    messages: messages.map((message) => (message.id === messageId ? { ...message, ...what } : message)),
  }));
}

export function changeSettings(what: Partial<Settings>): void {
  const settings = { ...current.value.settings, ...what };
  change(current.value.id, () => ({ settings }));
  savePreference("settings", JSON.stringify(settings));
}

export async function remove(id: string): Promise<void> {
  clearTimeout(unsaved.get(id));
  unsaved.delete(id);
  conversations.value = conversations.value.filter((conversation) => conversation.id !== id);
  if (currentId.value === id) {
    const next = conversations.value[0];
    if (next) select(next.id);
    else startConversation();
  }
  await store?.remove(id);
}

/** The first words of a message as a name for its conversation. */
export function titleOf(text: string): string {
  const line = text.trim().split("\n")[0] ?? "";
  const characters = Array.from(line);
  return characters.length > 48 ? `${characters.slice(0, 47).join("")}…` : line;
}
