// The frame: header with the three views, the list of conversations, and the view that is shown.
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { isRunning, stop } from "../chat_run";
import { cluster, connection, watchCluster } from "../cluster";
import { current } from "../conversations";
import { chooseLanguage, language, t } from "../i18n";
import { chooseNextTheme, theme } from "../theme";
import { ApiView } from "./api_view";
import { ChatView } from "./chat_view";
import { ClusterView } from "./cluster_view";
import { IconButton } from "./icons";
import { Sidebar } from "./sidebar";
import { Tabs } from "./tabs";

type View = "chat" | "api" | "cluster";
const views: View[] = ["chat", "api", "cluster"];

function viewOfAddress(): View {
  return views.find((view) => location.hash === `#${view}`) ?? "chat";
}

const view = signal<View>(viewOfAddress());
const drawerOpen = signal(false);
addEventListener("hashchange", () => (view.value = viewOfAddress()));

function onKeyDown(event: KeyboardEvent): void {
  if (event.key !== "Escape" || event.defaultPrevented || document.querySelector("dialog[open]")) return;
  if (drawerOpen.value) drawerOpen.value = false;
  else if (isRunning(current.value.id)) stop(current.value.id);
}

export function App() {
  useEffect(() => {
    addEventListener("keydown", onKeyDown);
    return () => removeEventListener("keydown", onKeyDown);
  }, []);
  useEffect(() => watchCluster(view.value === "cluster"), [view.value]);
  const shown = view.value;
  return (
    <div class={drawerOpen.value ? "app drawer-open" : "app"}>
      <a class="skip-link" href="#message" onClick={skipToInput}>
        {t().skipToInput}
      </a>
      <Header />
      <aside class="sidebar" aria-label={t().conversations}>
        <Sidebar onChosen={showChat} />
      </aside>
      <div class="drawer-shade" onClick={() => (drawerOpen.value = false)} />
      <main>
        <div class="view" id={`view-${shown}`} role="tabpanel" aria-labelledby={`view-tab-${shown}`}>
          {shown === "chat" && <ChatView />}
          {shown === "api" && <ApiView />}
          {shown === "cluster" && <ClusterView />}
        </div>
      </main>
    </div>
  );
}

function showChat(): void {
  drawerOpen.value = false;
  location.hash = "#chat";
}

function skipToInput(event: Event): void {
  event.preventDefault();
  location.hash = "#chat";
  setTimeout(() => document.getElementById("message")?.focus());
}

function Header() {
  const drawerLabel = drawerOpen.value ? t().closeSidebar : t().openSidebar;
  const themeLabel = { auto: t().themeAuto, light: t().themeLight, dark: t().themeDark }[theme.value];
  const themeIcon = ({ auto: "auto", light: "sun", dark: "moon" } as const)[theme.value];
  return (
    <header class="header">
      <IconButton
        icon="menu"
        class="drawer-button"
        label={drawerLabel}
        expanded={drawerOpen.value}
        onClick={() => (drawerOpen.value = !drawerOpen.value)}
      />
      <h1 class="brand">
        <svg viewBox="0 0 20 20" aria-hidden="true">
          <circle cx="6" cy="6" r="3.6" />
          <circle cx="14" cy="6" r="3.6" opacity=".7" />
          <circle cx="6" cy="14" r="3.6" opacity=".7" />
          <circle cx="14" cy="14" r="3.6" opacity=".4" />
        </svg>
        <span>Quartet</span>
      </h1>
      <Tabs
        tabs={views.map((name) => ({ name, label: t()[name] }))}
        selected={view.value}
        label={t().views}
        idPrefix="view"
        onSelect={(name) => (location.hash = `#${name}`)}
      />
      <div class="header-end">
        <ServerChip />
        <IconButton icon={themeIcon} label={themeLabel} onClick={chooseNextTheme} />
        <button
          type="button"
          class="language-button"
          aria-label={t().switchLanguageLabel}
          title={t().switchLanguageLabel}
          onClick={() => chooseLanguage(language.value === "en" ? "zh" : "en")}
        >
          {t().switchLanguage}
        </button>
      </div>
    </header>
  );
}

/** Model and health, always in sight. */
function ServerChip() {
  const state = cluster.value;
  const text =
    connection.value === "connecting" ? t().connecting
    : connection.value === "unreachable" ? t().unreachable
    : state?.serving ? t().serving
    : t().notServing;
  const well = connection.value === "ok" && state?.serving;
  return (
    <a class="chip" href="#cluster" title={state?.reason || text}>
      <span class={`dot ${well ? "good" : connection.value === "connecting" ? "" : "bad"}`} aria-hidden="true" />
      <span class="chip-model">{state?.model?.name ?? ""}</span>
      <span class={well ? "off-screen" : ""}>{text}</span>
    </a>
  );
}
