// What waits to be sent: the text in the message box, and text files that were dropped in.
import { signal } from "@preact/signals";
import { countTokens } from "./api_client";
import type { AttachedFile } from "./types";

/** The text in the message box. */
export const draft = signal("");
export const attachments = signal<AttachedFile[]>([]);
/** Why the last file was not taken. */
export const attachmentProblem = signal<{ kind: "notText" | "fileTooLarge"; name: string } | null>(null);

/** Below the server's own limit on a request, which counts the JSON. */
export const maxFileBytes = 8_000_000;

export async function attach(file: File): Promise<void> {
  attachmentProblem.value = null;
  if (file.size > maxFileBytes) {
    attachmentProblem.value = { kind: "fileTooLarge", name: file.name };
    return;
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
    if (text.includes("\0")) throw new Error("binary");
  } catch {
    attachmentProblem.value = { kind: "notText", name: file.name };
    return;
  }
  const attached: AttachedFile = { name: file.name, bytes: file.size, text };
  attachments.value = [...attachments.value, attached];
  try {
    const tokens = await countTokens(text);
    attachments.value = attachments.value.map((one) => (one === attached ? { ...attached, tokens } : one));
  } catch {
    // Without a count there is no warning; the server still checks.
  }
}

export function detach(file: AttachedFile): void {
  attachments.value = attachments.value.filter((one) => one !== file);
}

/** Hands over what waits. */
export function takeAttachments(): AttachedFile[] {
  const taken = attachments.value;
  attachments.value = [];
  attachmentProblem.value = null;
  return taken;
}
