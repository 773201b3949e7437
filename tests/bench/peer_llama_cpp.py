#!/usr/bin/env python3
"""Compares Quartet's engine with llama.cpp on the CPU: one GGUF, one run, interleaved.

Run: peer_llama_cpp.py [--build_dir build/release] [--model FILE.gguf] [--repetitions 5] [--threads 2] [--json OUT]
     [--at_least RATIO]   fails if either ratio is below

llama.cpp comes from the sources inside the llama-cpp-python sdist, is built natively once under ${QUARTET_CACHE}/peers, and is run at
the best of its settings (threads, flash attention, repacking), which a first pass finds. Prints machine, model, commands,
repetitions, medians, ratios, and the distance to the bounds: a decode step reads all weights once; a prompt costs two
operations a weight and token.
"""
import argparse
import itertools
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tarfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("QUARTET_CACHE", pathlib.Path.home() / ".cache/quartet"))
SDIST = "llama_cpp_python==0.3.36"
PROMPT_TOKENS = 512
DECODE_TOKENS = 32


def run(command, **kwargs) -> str:
    return subprocess.run([str(c) for c in command], check=True, text=True, stdout=subprocess.PIPE, **kwargs).stdout


def llama_bench() -> pathlib.Path:
    """Path of llama-bench, built first if it isn't there."""
    folder = CACHE / "peers/llama_cpp"
    binary = folder / "build/bin/llama-bench"
    if binary.exists():
        return binary
    downloads = CACHE / "peers"
    downloads.mkdir(parents=True, exist_ok=True)
    print("building llama.cpp (once, some minutes) ...", file=sys.stderr)
    run([sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "llama-cpp-python", "-d", downloads, SDIST])
    with tarfile.open(next(downloads.glob("llama_cpp_python-*.tar.gz"))) as archive:
        # Debian 12's Python has no filters yet; newer ones warn without.
        archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    source = next(folder.rglob("vendor/llama.cpp"))
    run(["cmake", "-S", source, "-B", folder / "build", "-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON",
         "-DLLAMA_CURL=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_SERVER=OFF"], stderr=subprocess.STDOUT)
    run(["cmake", "--build", folder / "build", "--target", "llama-bench", "-j", str(os.cpu_count())])
    return binary


def run_llama(binary, model, threads, flash, repack):
    """Tokens per second of prompt and decode."""
    out = run([binary, "-m", model, "-p", PROMPT_TOKENS, "-n", DECODE_TOKENS, "-r", 1, "-t", threads, "-fa", flash,
               "--repack", repack, "-o", "json"], stderr=subprocess.DEVNULL)
    rows = json.loads(out)
    prompt = next(r["avg_ts"] for r in rows if r["n_prompt"])
    decode = next(r["avg_ts"] for r in rows if r["n_gen"])
    return prompt, decode


def best_settings(binary, model, max_threads):
    """The settings with the best prompt speed and those with the best decode speed."""
    tried = {}
    for threads, flash, repack in itertools.product(sorted({1, max_threads}), ("off", "on"), (0, 1)):
        tried[(threads, flash, repack)] = run_llama(binary, model, threads, flash, repack)
    return max(tried, key=lambda s: tried[s][0]), max(tried, key=lambda s: tried[s][1])


def run_ours(binary, model, threads):
    return json.loads(run([binary, f"--model={model}", f"--num_threads={threads}", f"--prompt_tokens={PROMPT_TOKENS}",
                           f"--decode_tokens={DECODE_TOKENS}", "--json"], stderr=subprocess.DEVNULL))


def cpu_name() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build_dir", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--model", type=pathlib.Path, default=CACHE / "bench/random-qwen2.5-0.5b-bf16.gguf")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--at_least", type=float, default=0)
    arguments = parser.parse_args()
    if not arguments.model.exists():
        arguments.model.parent.mkdir(parents=True, exist_ok=True)
        run([sys.executable, ROOT / "tests/bench/make_random_gguf.py", arguments.model])
    peer = llama_bench()
    ours_binary = arguments.build_dir / "bin/engine_bench"
    for_prompt, for_decode = best_settings(peer, arguments.model, arguments.threads)
    print(f"machine: {cpu_name()}, {os.cpu_count()} cores; model: {arguments.model.name}; repetitions: {arguments.repetitions}")
    print(f"command: {pathlib.Path(sys.argv[0]).name} {' '.join(sys.argv[1:])}")
    print(f"llama.cpp's best settings (threads, flash attention, repack): prompt {for_prompt}, decode {for_decode}")
    ours, theirs_prompt, theirs_decode = [], [], []
    for _ in range(arguments.repetitions):
        ours.append(run_ours(ours_binary, arguments.model, arguments.threads))
        theirs_prompt.append(run_llama(peer, arguments.model, *for_prompt)[0])
        theirs_decode.append(run_llama(peer, arguments.model, *for_decode)[1])
    report(arguments, ours, theirs_prompt, theirs_decode)


def report(arguments, ours, theirs_prompt, theirs_decode) -> None:
    median = lambda key: statistics.median(r[key] for r in ours)  # noqa: E731
    bandwidth = statistics.median(b for r in ours for b in (r["bandwidth_before"], r["bandwidth_after"]))
    peak = median("bf16_peak_flops")
    bounds = {"prompt": peak / median("flops_per_token"), "decode": bandwidth / median("bytes_per_step")}
    peer = {"prompt": statistics.median(theirs_prompt), "decode": statistics.median(theirs_decode)}
    print(f"probed in the same run: {bandwidth / 1e9:.1f} GB/s read, {peak / 1e9:.0f} GFLOP/s bf16")
    result = {}
    for what in ("prompt", "decode"):
        mine = median(f"{what}_tokens_per_second")
        result[what] = dict(quartet=mine, llama_cpp=peer[what], ratio=mine / peer[what], bound=bounds[what],
                            of_bound=mine / bounds[what])
        print(f"{what:7}: quartet {mine:8.1f} tok/s, llama.cpp {peer[what]:8.1f} tok/s, ratio {mine / peer[what]:.2f}, "
              f"bound {bounds[what]:.1f} tok/s, {100 * mine / bounds[what]:.0f}% of it")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1))
    short = [what for what in result if result[what]["ratio"] < arguments.at_least]
    if short:
        sys.exit(f"below {arguments.at_least} times llama.cpp's speed: {', '.join(short)}")


if __name__ == "__main__":
    main()
