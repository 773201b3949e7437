// Light or dark: as the system, or as chosen. The attribute on the root element selects the colours; "auto" has none.
import { signal } from "@preact/signals";
import { loadPreference, savePreference } from "./preferences";

export type Theme = "auto" | "light" | "dark";
const order: Theme[] = ["auto", "light", "dark"];

const stored = loadPreference("theme") as Theme | null;
export const theme = signal<Theme>(stored !== null && order.includes(stored) ? stored : "auto");

export function applyTheme(next: string | null): void {
  if (next === "light" || next === "dark") document.documentElement.dataset.theme = next;
  else delete document.documentElement.dataset.theme;
}

export function chooseNextTheme(): void {
  theme.value = order[(order.indexOf(theme.value) + 1) % order.length]!;
  savePreference("theme", theme.value);
  applyTheme(theme.value);
}
