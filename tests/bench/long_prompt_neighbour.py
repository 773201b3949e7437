#!/usr/bin/env python3
"""What a very long prompt does to streams that run: their inter-token latency with and without it.

Run: long_prompt_neighbour.py [--quick] [--repetitions N] [--json OUT] [--only simulated,random,smollm2] [-- FLAGS OF quartet serve]

16 streams run; then a long prompt comes, and what its neighbours see from when it was sent until its first token is compared with
the time before. Three servers: Qwen2.5-7B's shape on the simulated 4x4090 (a model of the hardware) with 30,000 tokens; on the CPU
a small random model of 32k context with 30,000 tokens, and SmolLM2 with 6,000. Medians over the repetitions.
"""
import argparse
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from bench_cluster import BUILD, ROOT, Cluster, gaps_between, machine, median, quantile, seven_b, wait_until

STREAMS = 16
CACHE_MODEL = "models/SmolLM2-135M-Instruct.Q4_1.gguf"


def bench(cluster, trace, **flags):
    command = [str(BUILD / "bin/quartet"), "bench", f"--address={cluster.url}", f"--trace={trace}", "--ignore_eos=true", "--temperature=1"]
    return subprocess.Popen(command + [f"--{k}={v}" for k, v in flags.items()], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(process):
    _, errors = process.communicate(timeout=900)
    if process.returncode != 0:
        raise RuntimeError(f"quartet bench: {errors[-1000:]}")


def measure_once(cluster, folder, prompt_tokens, stream_tokens, before_s, seed):
    """The streams are long enough to outlive the prompt; they are broken off once it is answered."""
    streams_trace, prompt_trace = folder / "streams.jsonl", folder / "prompt.jsonl"
    with_streams = bench(cluster, streams_trace, num_requests=STREAMS, concurrency=STREAMS, prompt_tokens=64, output_tokens=stream_tokens, seed=seed)
    wait_until(lambda: cluster.metric("quartet_num_requests_running") >= STREAMS, 120, f"{STREAMS} streams run")
    time.sleep(before_s + 0.5)
    finish(bench(cluster, prompt_trace, num_requests=1, concurrency=1, prompt_tokens=prompt_tokens, output_tokens=1, seed=1000 + seed))
    with_streams.send_signal(signal.SIGINT)  # breaks its streams off and makes it report
    finish(with_streams)
    streams = [json.loads(line) for line in streams_trace.read_text().splitlines()]
    (prompt,) = [json.loads(line) for line in prompt_trace.read_text().splitlines()]
    sent, first = prompt["sent_s"], prompt["token_times_s"][0]
    if any(not s["is_cut"] for s in streams):
        raise RuntimeError("a stream ended before the prompt's first token: stream_tokens is too small")
    before, during = gaps_between(streams, sent - before_s, sent), gaps_between(streams, sent, first)
    return {
        "prompt, tokens": prompt["prompt_tokens"],
        "prompt's ttft, s": first - sent,
        "inter-token before p50, ms": quantile(before, 0.5), "inter-token before p99, ms": quantile(before, 0.99),
        "inter-token during p50, ms": quantile(during, 0.5), "inter-token during p99, ms": quantile(during, 0.99),
        "inter-token during max, ms": max(during, default=None),
    }


def measure(model, args, serve_flags, repetitions, **sizes):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="quartet-bench-"))
    results = []
    with Cluster(model, *serve_flags, *args.flags) as cluster:
        print(f"  {' '.join(cluster.command)}", file=sys.stderr)
        for repetition in range(args.repetitions or repetitions):
            results.append(measure_once(cluster, folder, seed=repetition + 1, **sizes))
    return {key: median([r[key] for r in results]) for key in results[0]}


def simulated(args, folder):
    flags = ["--device=simulated", "--sim_profile=4xrtx4090-bf16", "--tensor_parallel_size=4", "--max_num_batched_tokens=2048"]
    return measure(seven_b(folder / "Qwen2.5-7B-shape"), args, flags, 1 if args.quick else 3, prompt_tokens=30000, stream_tokens=20000, before_s=2)


def random_model(args, folder):
    model = folder / "random-small.gguf"
    subprocess.run([sys.executable, ROOT / "tests/bench/make_random_gguf.py", model, "--shape=small"], check=True, stdout=subprocess.DEVNULL)
    tokens = 8000 if args.quick else 30000
    return measure(model, args, [], 1, prompt_tokens=tokens, stream_tokens=20000, before_s=3)


def smollm2(args, folder):
    import bench_cluster
    cache = pathlib.Path(bench_cluster.os.environ.get("QUARTET_CACHE", pathlib.Path.home() / ".cache/quartet"))
    return measure(cache / CACHE_MODEL, args, [], 1, prompt_tokens=3000 if args.quick else 6000, stream_tokens=7000, before_s=3)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repetitions", type=int)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--only", default="simulated,random,smollm2")
    parser.add_argument("flags", nargs="*", help="flags of quartet serve")
    args = parser.parse_args()
    results = {"machine": machine(), "command": " ".join(sys.argv), "streams": STREAMS, "repetitions": args.repetitions or "3 on the simulated device, 1 on the CPU", "statistic": "median"}
    print(json.dumps(results, indent=2))
    with tempfile.TemporaryDirectory() as folder:
        for name in args.only.split(","):
            results[name] = {"simulated": simulated, "random": random_model, "smollm2": smollm2}[name](args, pathlib.Path(folder))
            print(f"\n{name}")
            for key, value in results[name].items():
                print(f"  {key:40} {'none' if value is None else f'{value:,.2f}'}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
