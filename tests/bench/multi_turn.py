#!/usr/bin/env python3
"""Conversations with a long system prompt: time to first token of each turn, and how much of its prompt came from the prefix cache.

Run: multi_turn.py [--quick] [--repetitions 5] [--json OUT] [--only simulated,smollm2] [-- FLAGS OF quartet serve]

Each repetition is a conversation of three turns behind one system prompt; the first conversation meets an empty cache, the others
find the system prompt in it. Servers: Qwen2.5-7B's shape on the simulated 4x4090 (a model of the hardware), and SmolLM2 on the CPU.
"""
import argparse
import http.client
import json
import os
import pathlib
import random
import sys
import tempfile
import time

from bench_cluster import Cluster, machine, median, seven_b

WORDS = "time person year way day thing man world life hand part child eye woman place work week case point company".split()
TURNS = 3


def words(count, seed):
    return " ".join(random.Random(seed).choices(WORDS, k=count))


def chat(cluster, messages, max_tokens):
    """Streams one answer: seconds to its first token, its text and its usage."""
    body = json.dumps({"messages": messages, "stream": True, "stream_options": {"include_usage": True}, "max_tokens": max_tokens, "temperature": 0})
    connection = http.client.HTTPConnection("127.0.0.1", cluster.http_port, timeout=600)
    start = time.monotonic()
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        raise RuntimeError(f"HTTP {response.status}: {response.read()[:500]}")
    first, text, usage, done = None, "", None, False
    for line in response:
        if not line.startswith(b"data: "):
            continue
        if line.strip() == b"data: [DONE]":
            done = True
            break
        event = json.loads(line[6:])
        usage = event.get("usage") or usage
        for choice in event.get("choices", []):
            piece = choice["delta"].get("content") or ""
            if piece and first is None:
                first = time.monotonic() - start
            text += piece
    connection.close()
    if not done or usage is None:
        raise RuntimeError("the stream ended without [DONE] and usage")
    return first if first is not None else time.monotonic() - start, text, usage


def measure(model, args, serve_flags, system_tokens):
    rows = {}
    system = words(system_tokens, seed=7)
    with Cluster(model, *serve_flags, *args.flags) as cluster:
        print(f"  {' '.join(cluster.command)}", file=sys.stderr)
        chat(cluster, [{"role": "user", "content": "warm up"}], 4)
        for conversation in range(args.repetitions):
            messages = [{"role": "system", "content": system}]
            for turn in range(1, TURNS + 1):
                messages.append({"role": "user", "content": words(40, seed=conversation * 100 + turn)})
                first, text, usage = chat(cluster, messages, max_tokens=32)
                messages.append({"role": "assistant", "content": text})
                cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
                kind = "first conversation" if conversation == 0 else "later conversations"
                rows.setdefault(f"{kind}, turn {turn}", []).append((1000 * first, usage["prompt_tokens"], cached))
    return {name: {"ttft, ms": median([v[0] for v in values]), "prompt tokens": median([v[1] for v in values]), "cached tokens": median([v[2] for v in values])}
            for name, values in rows.items()}


def simulated(args, folder):
    flags = ["--device=simulated", "--sim_profile=4xrtx4090-bf16", "--tensor_parallel_size=4", "--max_num_batched_tokens=2048"]
    return measure(seven_b(folder / "Qwen2.5-7B-shape"), args, flags, 8000)


def smollm2(args, folder):
    cache = pathlib.Path(os.environ.get("QUARTET_CACHE", pathlib.Path.home() / ".cache/quartet"))
    return measure(cache / "models/SmolLM2-135M-Instruct.Q4_1.gguf", args, [], 800 if args.quick else 2000)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repetitions", type=int)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--only", default="simulated,smollm2")
    parser.add_argument("flags", nargs="*", help="flags of quartet serve")
    args = parser.parse_args()
    args.repetitions = args.repetitions or (2 if args.quick else 5)
    results = {"machine": machine(), "command": " ".join(sys.argv), "repetitions": args.repetitions, "statistic": "median"}
    print(json.dumps(results, indent=2))
    with tempfile.TemporaryDirectory() as folder:
        for name in args.only.split(","):
            results[name] = {"simulated": simulated, "smollm2": smollm2}[name](args, pathlib.Path(folder))
            print(f"\n{name:32} {'ttft, ms':>10} {'prompt':>8} {'cached':>8}")
            for row, values in results[name].items():
                print(f"  {row:30} {values['ttft, ms']:10.1f} {values['prompt tokens']:8.0f} {values['cached tokens']:8.0f}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
