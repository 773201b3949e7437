#!/usr/bin/env python3
"""What the control plane costs when the device is as fast as four RTX 4090: everything real but the forward pass.

Run: control_plane.py [--quick] [--repetitions 3] [--json OUT] [--only cpu,saturation,alone,memory]

Serves Qwen2.5-7B's shape on the simulated 4x4090 (a model of the hardware, not a measurement of it) and loads it over HTTP from one
thread (`quartet bench`). Reports, medians over the repetitions:
  cpu         CPU microseconds per generated token of each process at 256 running sequences, at the profile's own speed
  saturation  tokens/s that this machine carries: the device is made faster until clients no longer see tokens at the pace of the steps
  alone       what one stream alone sees beyond the simulated step's time, with the device slowed down
  gap         host time and device idle time between steps, as the leader's histograms say (cpu's windows)
  memory      resident bytes per open stream of each process, at 1,000 and 5,000 streams, and threads
The machine must be quiet: what other processes used meanwhile is printed.
"""
import argparse
import json
import pathlib
import sys
import tempfile
import time

from bench_cluster import (ROOT, Cluster, Process, busy_seconds_of_machine, gaps_between, histogram_quantile, load, machine, median, quantile, seven_b,
                           wait_until)

PROFILE = "4xrtx4090-bf16"
ROLES = ["gateway", "tokenizer", "leader", "follower", "load generator"]
CONTROL_PLANE = ["gateway", "tokenizer", "leader"]
GAPS = ["quartet_step_device_idle_seconds", "quartet_step_host_overhead_seconds"]
STREAMS = 256


def flags(time_scale=1.0):
    return ["--device=simulated", f"--sim_profile={PROFILE}", "--tensor_parallel_size=4", f"--sim_time_scale={time_scale}", f"--max_num_seqs={STREAMS}",
            "--max_num_batched_tokens=2048", "--max_waiting=8192", "--max_inflight_requests=8192"]


def step_seconds(context, sequences=1):
    """The formula of worker/simulated/step_time.h for decoding, on one of four ranks."""
    p = json.loads((ROOT / f"deploy/sim_profiles/{PROFILE}.json").read_text())
    bandwidth, flops = p["memory_bandwidth_gb_per_s"] * 1e9, p["compute_tflop_per_s"] * 1e12
    hidden, layers, vocab_rows = 3584, 28, 38016
    layer = layers * hidden * ((28 + 8) * 128 // 4 + 896 + 3 * 4736)
    exchange = lambda values: p["collective_latency_us"] * 1e-6 + 2 * values / (p["collective_bandwidth_gb_per_s"] * 1e9)
    return (p["step_overhead_us"] * 1e-6 + sum(max(2 * w * sequences / flops, 2 * w / bandwidth) for w in (layer, vocab_rows * hidden))
            + sequences * context * 14336 / bandwidth + (2 * layers + 1) * exchange(sequences * hidden) + exchange(sequences * 3 * vocab_rows))


class Window:
    """Deltas of CPU time and tokens over a stretch of steady load."""

    def __init__(self, cluster, generator):
        self.cluster, self.generator = cluster, generator
        self.before = self.read()

    def read(self):
        processes = self.cluster.processes() | {"load generator": [Process(self.generator.pid, "load generator")]}
        return {
            "cpu": {role: sum(p.cpu_seconds() for p in processes[role]) for role in ROLES},
            "tokens": self.cluster.metric("quartet_generation_tokens_total"),
            "steps": self.cluster.worker_load().num_steps,
            "machine": busy_seconds_of_machine(),
            "time": time.monotonic(),
            "histograms": self.cluster.leader_histograms(GAPS),
        }

    def result(self):
        now, before = self.read(), self.before
        seconds, tokens = now["time"] - before["time"], now["tokens"] - before["tokens"]
        cpu = {role: now["cpu"][role] - before["cpu"][role] for role in ROLES}
        result = {f"cpu_us_per_token {role}": 1e6 * cpu[role] / max(tokens, 1) for role in ROLES}
        result["cpu_us_per_token gateway+tokenizer+leader"] = sum(result[f"cpu_us_per_token {role}"] for role in CONTROL_PLANE)
        result["tokens_per_s"] = tokens / seconds
        result["steps_per_s"] = (now["steps"] - before["steps"]) / seconds
        result["cores used by others"] = (now["machine"] - before["machine"] - sum(cpu.values())) / seconds
        for name in GAPS:
            for q in (0.5, 0.99):
                if name in now["histograms"]:
                    value = histogram_quantile(before["histograms"].get(name, {}), now["histograms"][name], q)
                    result[f"{name} p{int(100 * q)}, us"] = None if value is None else 1e6 * value
        return result


def measure_load(model, args, time_scale, concurrency=STREAMS, **load_flags):
    window_s = 4 if args.quick else 8
    load_flags = {"concurrency": concurrency, "prompt_tokens": 128, "output_tokens": 512, "ignore_eos": False, "temperature": 1} | load_flags
    with Cluster(model, *flags(time_scale)) as cluster:
        with load(cluster, duration_s=4 + (window_s + 0.5) * args.repetitions, **load_flags) as generator:
            wait_until(lambda: cluster.metric("quartet_num_requests_running") >= concurrency * 0.9, 60, f"{concurrency} sequences run")
            time.sleep(1)
            windows, begin = [], time.monotonic()
            for _ in range(args.repetitions):
                window = Window(cluster, generator)
                time.sleep(window_s)
                windows.append(window.result())
            end = time.monotonic()
        report, requests = generator.report(), generator.trace()
        print(f"  {' '.join(cluster.command)}\n  {' '.join(generator.command)}", file=sys.stderr)
    if report["num_failed"]:
        raise RuntimeError(f"{report['num_failed']} requests failed: {report['first_error']}")
    result = {key: median([w[key] for w in windows]) for key in windows[0]}
    gaps = gaps_between(requests, begin, end)
    first = [1000 * (r["token_times_s"][0] - r["sent_s"]) for r in requests if r["token_times_s"] and r["sent_s"] >= begin]
    return result | {"client inter-token p50, ms": quantile(gaps, 0.5), "client inter-token p99, ms": quantile(gaps, 0.99),
                     "client ttft p50, ms": quantile(first, 0.5), "client ttft p99, ms": quantile(first, 0.99)}


def measure_cpu(model, args):
    return measure_load(model, args, 1.0)


def measure_saturation(model, args):
    """Faster and faster, until tokens pile up on their way: then they come in bursts, many with one read."""
    args = argparse.Namespace(**vars(args) | {"repetitions": 1, "quick": True})
    best, tried = None, {}
    for scale in (0.5, 0.35, 0.25, 0.18, 0.125, 0.09):
        result = measure_load(model, args, scale)
        period = 1000 / result["steps_per_s"]
        keeps_pace = 0.5 * period <= result["client inter-token p50, ms"] <= 1.5 * period and result["client inter-token p99, ms"] <= 10 * period
        tried[f"time scale {scale}: tokens/s"] = result["tokens_per_s"]
        print(f"  time scale {scale}: {result['tokens_per_s']:,.0f} tokens/s, {'keeps' if keeps_pace else 'does not keep'} pace", file=sys.stderr)
        if not keeps_pace:
            break
        if best is None or result["tokens_per_s"] > best["tokens_per_s"]:
            best = result | {"time scale": scale}
    return (best or {"no time scale keeps pace": None}) | tried


def measure_alone(model, args):
    """One stream at a time; the step's time is known, so the rest is the control plane's."""
    scale, prompt, tokens = 4.0, 32, 100 if args.quick else 200
    expected = sum(scale * step_seconds(prompt + i) for i in range(2, tokens + 1)) / (tokens - 1)
    added = []
    with Cluster(model, *flags(scale)) as cluster:
        for repetition in range(args.repetitions + 1):
            with load(cluster, concurrency=1, num_requests=1, prompt_tokens=prompt, output_tokens=tokens, ignore_eos=True, temperature=1, seed=repetition) as generator:
                pass
            report = generator.report()
            if repetition > 0:  # the first warms up
                added.append((report["inter_token_ms"]["p50"], report["inter_token_ms"]["p99"]))
    return {"simulated step, ms": 1000 * expected, "inter-token p50, ms": median([p50 for p50, _ in added]),
            "added per token p50, ms": median([p50 - 1000 * expected for p50, _ in added]),
            "added per token p99, ms": median([p99 - 1000 * expected for _, p99 in added])}


def measure_memory(model, args):
    result = {}
    # The device is slow, so that nothing ends while we look.
    with Cluster(model, *flags(20)) as cluster:
        with load(cluster, concurrency=32, num_requests=32, prompt_tokens=128, output_tokens=2, temperature=1):
            pass  # pools, threads and buffers that any load needs
        processes = cluster.processes()
        base = {role: sum(p.rss_kb() for p in processes[role]) for role in CONTROL_PLANE}
        for count in (1000, 5000):
            seconds = 20 if args.quick else 30
            with load(cluster, concurrency=count, num_requests=count, prompt_tokens=128, output_tokens=2000, ignore_eos=True, temperature=1, duration_s=seconds):
                open_streams = lambda: cluster.metric("quartet_num_requests_running") + cluster.metric("quartet_num_requests_waiting")
                wait_until(lambda: open_streams() >= count, seconds - 2, f"{count} streams are open")
                time.sleep(1)
                for role in CONTROL_PLANE:
                    rss = sum(p.rss_kb() for p in processes[role])
                    result[f"{count} streams: {role}, KB per stream"] = (rss - base[role]) / count
                    result[f"{count} streams: {role}, threads"] = sum(p.threads() for p in processes[role])
            wait_until(lambda: cluster.metric("quartet_num_requests_running") == 0, 60, "the streams are gone")
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--only", default="cpu,saturation,alone,memory")
    args = parser.parse_args()
    measures = {"cpu": measure_cpu, "saturation": measure_saturation, "alone": measure_alone, "memory": measure_memory}
    results = {"machine": machine(), "model": "Qwen2.5-7B's shape, no weights", "profile": PROFILE, "command": " ".join(sys.argv),
               "repetitions": args.repetitions, "statistic": "median"}
    print(json.dumps(results, indent=2))
    with tempfile.TemporaryDirectory() as folder:
        model = seven_b(pathlib.Path(folder) / "Qwen2.5-7B-shape")
        for name in args.only.split(","):
            results[name] = measures[name](model, args)
            print(f"\n{name}")
            for key, value in results[name].items():
                print(f"  {key:55} {'not reported' if value is None else f'{value:,.2f}'}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
