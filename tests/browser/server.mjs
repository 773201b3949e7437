// Starts and ends a real `quartet serve` with the small model, on ports of its own.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, openSync, readFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const build = process.env.QUARTET_BUILD_DIR ?? join(root, "build/release");
const cache = process.env.QUARTET_CACHE ?? join(homedir(), ".cache/quartet");
export const python = process.env.QUARTET_PYTHON ?? join(cache, "venv/bin/python");
const model = join(cache, "models/SmolLM2-135M-Instruct.Q4_1.gguf");
const startLimitMs = 120_000;

// A path that must be there, or what to do about it.
function needed(path, advice) {
  if (!existsSync(path)) throw new Error(`${path} is missing: ${advice}`);
  return path;
}

/** {url, grpcPort, stop()} once it serves. */
export async function startServer(...flags) {
  const binary = needed(join(build, "bin/quartet"), "run tests/run, or ninja in the build folder");
  needed(model, "run deploy/local/setup --tests");
  const log = join(mkdtempSync(join(tmpdir(), "quartet-browser-")), "serve.log");
  const child = spawn(binary, ["serve", `--model=${model}`, "--http_port=0", "--grpc_port=0", ...flags], {
    stdio: ["ignore", "pipe", openSync(log, "w")],
  });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const ports = await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`not ready in time; its log is ${log}`)), startLimitMs);
    let grpcPort = 0;
    createInterface(child.stdout).on("line", (line) => {
      const port = Number(line.split(" ").at(-1));
      if (line.startsWith("gRPC is served on port ")) grpcPort = port;
      if (!line.startsWith("Inference server is ready on port ")) return;
      clearTimeout(timer);
      resolve({ url: `http://127.0.0.1:${port}`, grpcPort });
    });
    void ended.then((code) => reject(new Error(`quartet serve ended with ${code}:\n${readFileSync(log, "utf8").slice(-3000)}`)));
  });
  return {
    ...ports,
    async stop() {
      child.kill("SIGTERM");
      return ended;
    },
  };
}
