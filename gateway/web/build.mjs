// Bundles the page and writes it as C++ source:
//   node build.mjs OUT.cc      what the gateway embeds, and OUT.cc.d with its inputs, for the build
//   node build.mjs --dir OUT   plain files, to look at them
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, extname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const root = dirname(fileURLToPath(import.meta.url));
const types = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
};

// The bundle's files as {path, text}, and the names of all inputs.
async function bundle() {
  const result = await build({
    absWorkingDir: root,
    entryPoints: { app: "src/main.tsx", early: "src/early.ts", style: "src/style/index.css", icon: "src/icon.svg" },
    outdir: "assets",
    entryNames: "[name]-[hash]",
    loader: { ".svg": "copy" },
    bundle: true,
    minify: true,
    format: "iife",
    target: ["es2020", "chrome100", "firefox100", "safari15.4"],
    jsx: "automatic",
    jsxImportSource: "preact",
    legalComments: "inline",
    metafile: true,
    write: false,
    logLevel: "warning",
  });
  const files = result.outputFiles.map((file) => ({
    path: "/" + relative(root, file.path),
    bytes: Buffer.from(file.contents),
  }));
  return { files, inputs: Object.keys(result.metafile.inputs).map((name) => join(root, name)) };
}

function pathOf(files, start, extension) {
  const found = files.find(({ path }) => path.startsWith(`/assets/${start}-`) && path.endsWith(extension));
  if (!found) throw new Error(`the bundle has no ${start}*${extension}`);
  return found.path;
}

function page(files) {
  const html = readFileSync(join(root, "index.html"), "utf8")
    .replace("{{early}}", pathOf(files, "early", ".js"))
    .replace("{{app}}", pathOf(files, "app", ".js"))
    .replace("{{style}}", pathOf(files, "style", ".css"))
    .replace("{{icon}}", pathOf(files, "icon", ".svg"));
  return { path: "/", bytes: Buffer.from(html) };
}

// Three octal digits never join what follows them.
function literal(bytes) {
  const lines = [];
  for (let at = 0; at < bytes.length; at += 4096) {
    let line = "";
    for (const byte of bytes.subarray(at, at + 4096)) {
      const plain = byte >= 32 && byte < 127 && !'"\\?'.includes(String.fromCharCode(byte));
      line += plain ? String.fromCharCode(byte) : "\\" + byte.toString(8).padStart(3, "0");
    }
    lines.push(`    "${line}"`);
  }
  return lines.join("\n");
}

function source(files) {
  const entries = files.map(({ path, bytes }) => {
    const type = types[path === "/" ? ".html" : extname(path)];
    if (!type) throw new Error(`no content type is known for ${path}`);
    const gzip = gzipSync(bytes, { level: 9 });
    const etag = createHash("sha256").update(bytes).digest("hex").slice(0, 20);
    return `    {"${path}", "${type}", "\\"${etag}\\"",
     absl::string_view(\n${literal(bytes)},\n     ${bytes.length}),
     absl::string_view(\n${literal(gzip)},\n     ${gzip.length})},`;
  });
  return `// Generated from gateway/web by build.mjs.
#include "gateway/http/web_page.h"

namespace quartet::gateway::http {

absl::Span<const WebAsset> EmbeddedAssets() {
  static constexpr WebAsset kAssets[] = {
${entries.join("\n")}
  };
  return kAssets;
}

}  // namespace quartet::gateway::http
`;
}

const { files, inputs } = await bundle();
const all = [page(files), ...files];
if (process.argv[2] === "--dir") {
  for (const { path, bytes } of all) {
    const target = join(resolve(process.argv[3]), path === "/" ? "index.html" : path);
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, bytes);
  }
} else {
  const out = process.argv[2];
  mkdirSync(dirname(out), { recursive: true });
  writeFileSync(out, source(all));
  // Packages change only with the lock file.
  const own = inputs.filter((name) => !name.includes("/node_modules/"));
  writeFileSync(`${out}.d`, `${out}: ${own.map((name) => name.replaceAll(" ", "\\ ")).join(" ")}\n`);
}
for (const { path, bytes } of process.argv[2] === "--dir" ? all : []) {
  console.log(`${path} ${bytes.length} bytes, ${gzipSync(bytes).length} compressed`);
}
