// Copies a text and says so for a moment.
import { useState } from "preact/hooks";
import { t } from "../i18n";
import { Icon } from "./icons";

const shownMs = 1500;

/** The clipboard API is there only on https and localhost; elsewhere a selected text can still be copied. */
export async function copyText(text: string): Promise<void> {
  if (navigator.clipboard) {
    try {
      return await navigator.clipboard.writeText(text);
    } catch {
      // Not allowed: the old way may be.
    }
  }
  const box = document.createElement("textarea");
  box.value = text;
  box.className = "off-screen";
  document.body.append(box);
  box.select();
  document.execCommand("copy");
  box.remove();
}

export function CopyButton({ text, withLabel = false }: { text: () => string; withLabel?: boolean }) {
  const [copied, setCopied] = useState(false);
  const label = copied ? t().copied : t().copy;
  const onClick = async () => {
    await copyText(text());
    setCopied(true);
    setTimeout(() => setCopied(false), shownMs);
  };
  return (
    <button type="button" class={withLabel ? "button" : "icon-button"} aria-label={label} title={label} onClick={onClick}>
      <Icon name={copied ? "check" : "copy"} />
      {withLabel && <span>{label}</span>}
    </button>
  );
}
