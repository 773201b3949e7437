// Checks the types of the page's sources and runs the tests beside them (src/*_test.ts) under node:
//   node test.mjs
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(fileURLToPath(import.meta.url));

function run(command, ...args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: "inherit" });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

// npm lies beside the node that runs this.
process.env.PATH = `${dirname(process.execPath)}:${process.env.PATH}`;
run("./install_packages");
run("node_modules/.bin/tsc", "--noEmit");
const { build } = await import("esbuild");
const folder = mkdtempSync(join(tmpdir(), "quartet-web-"));
try {
  const tests = readdirSync(join(root, "src")).filter((name) => name.endsWith("_test.ts"));
  await build({
    absWorkingDir: root,
    entryPoints: tests.map((name) => `src/${name}`),
    outdir: folder,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    platform: "node",
    format: "esm",
    logLevel: "warning",
  });
  run(process.execPath, "--test", ...tests.map((name) => join(folder, name.replace(/\.ts$/, ".mjs"))));
} finally {
  rmSync(folder, { recursive: true });
}
