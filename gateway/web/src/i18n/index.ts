// Which language the page speaks: the browser's, unless the user has chosen.
import { computed, effect, signal } from "@preact/signals";
import { loadPreference, savePreference } from "../preferences";
import { en, type Texts } from "./en";
import { zh } from "./zh";

export type Language = "en" | "zh";

function initialLanguage(): Language {
  const chosen = loadPreference("language");
  if (chosen === "en" || chosen === "zh") return chosen;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

export const language = signal<Language>(initialLanguage());
const texts = computed<Texts>(() => (language.value === "zh" ? zh : en));

/** The texts in the present language; a component that reads them renders anew when it changes. */
export function t(): Texts {
  return texts.value;
}

export const locale = computed(() => (language.value === "zh" ? "zh-CN" : "en"));

export function chooseLanguage(next: Language): void {
  language.value = next;
  savePreference("language", next);
}

effect(() => {
  document.documentElement.lang = locale.value;
});
