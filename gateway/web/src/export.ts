// A conversation as a file to keep.
import { promptText } from "./request_body";
import type { Conversation } from "./types";

export function toMarkdown(conversation: Conversation, names: { user: string; assistant: string }): string {
  const parts = [`# ${conversation.title}`];
  if (conversation.settings.system !== "") parts.push(`> ${conversation.settings.system.replaceAll("\n", "\n> ")}`);
  for (const message of conversation.messages) parts.push(`**${names[message.role]}**`, promptText(message));
  return parts.join("\n\n") + "\n";
}

export function download(name: string, type: string, text: string): void {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  URL.revokeObjectURL(address);
}

/** A title as a file name. */
export function fileName(title: string, extension: string): string {
  const stem = title.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "");
  return `${stem || "conversation"}.${extension}`;
}
