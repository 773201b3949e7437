// Starts the page.
import { render } from "preact";
import { App } from "./components/app";
import { loadConversations } from "./conversations";

void loadConversations().then(() => render(<App />, document.getElementById("app")!));
