// Markdown to safe HTML. What a model writes is untrusted: raw HTML is shown as text, what is rendered passes a sanitiser, and
// nothing that would load something is let through. The page's Content-Security-Policy stands behind that.
import DOMPurify from "dompurify";
import hljs from "highlight.js/lib/core";
import bash from "highlight.js/lib/languages/bash";
import c from "highlight.js/lib/languages/c";
import cpp from "highlight.js/lib/languages/cpp";
import csharp from "highlight.js/lib/languages/csharp";
import css from "highlight.js/lib/languages/css";
import diff from "highlight.js/lib/languages/diff";
import go from "highlight.js/lib/languages/go";
import java from "highlight.js/lib/languages/java";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import markdown from "highlight.js/lib/languages/markdown";
import python from "highlight.js/lib/languages/python";
import rust from "highlight.js/lib/languages/rust";
import sql from "highlight.js/lib/languages/sql";
import typescript from "highlight.js/lib/languages/typescript";
import xml from "highlight.js/lib/languages/xml";
import yaml from "highlight.js/lib/languages/yaml";
import MarkdownIt from "markdown-it";

const languages = {
  bash, c, cpp, csharp, css, diff, go, java, javascript, json, markdown, python, rust, sql, typescript, xml, yaml,
};
for (const [name, language] of Object.entries(languages)) hljs.registerLanguage(name, language);
hljs.registerAliases(["shell", "console"], { languageName: "bash" });

/** Highlighted code as HTML, escaped. */
export function highlight(code: string, language: string): string {
  if (!hljs.getLanguage(language)) return renderer.utils.escapeHtml(code);
  return hljs.highlight(code, { language, ignoreIllegals: true }).value;
}

const renderer = new MarkdownIt({ html: false, linkify: true, breaks: false, highlight });

// A picture would be fetched from wherever the model says: its address becomes a link.
renderer.renderer.rules.image = (tokens, index) => {
  const token = tokens[index]!;
  const address = String(token.attrGet("src") ?? "");
  const { escapeHtml } = renderer.utils;
  return `<a href="${escapeHtml(address)}">${escapeHtml(token.content || address)}</a>`;
};

renderer.renderer.rules.fence = (tokens, index) => {
  const token = tokens[index]!;
  const language = token.info.trim().split(/\s+/)[0] ?? "";
  const { escapeHtml } = renderer.utils;
  return (
    `<div class="code-block"><div class="code-head"><span>${escapeHtml(language || "text")}</span>` +
    `<button type="button" class="copy-code"></button></div>` +
    `<pre tabindex="0"><code>${highlight(token.content, language)}</code></pre></div>`
  );
};

const allowed = {
  ALLOWED_TAGS: [
    "a", "blockquote", "br", "button", "code", "del", "div", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol",
    "p", "pre", "s", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
  ],
  ALLOWED_ATTR: ["class", "href", "rel", "start", "tabindex", "target", "type"],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  ALLOW_DATA_ATTR: false,
};

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName !== "A") return;
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer nofollow");
});

export function renderMarkdown(text: string): string {
  return DOMPurify.sanitize(renderer.render(text), allowed);
}
