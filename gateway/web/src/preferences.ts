// Small choices of the user, kept in localStorage where the browser allows that.

type Preference = "language" | "theme" | "settings" | "settings-open" | "conversation";

export function loadPreference(name: Preference): string | null {
  try {
    return localStorage.getItem(`quartet-${name}`);
  } catch {
    return null;
  }
}

export function savePreference(name: Preference, value: string): void {
  try {
    localStorage.setItem(`quartet-${name}`, value);
  } catch {
    // A browser that keeps nothing forgets it with the page.
  }
}
