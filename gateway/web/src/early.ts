// Runs before the page is painted, so that a chosen theme does not flash up late. Must stay tiny: it blocks.
import { loadPreference } from "./preferences";

const theme = loadPreference("theme");
if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
