#!/usr/bin/env python3
"""What structured output costs: 16 constrained against 16 free streams, and the first use of a 10 kB schema beside running streams.

Run: structured_output.py [--model PATH] [--repetitions 5] [--tokens 200] [--only cpu,simulated] [--json OUT]

  throughput  tokens/s of one request with n=16, free and constrained in turn in one run; medians, and the loss in percent
  first use   time to first token of a request whose 10 kB schema no grammar exists for, and the largest gap between tokens that
              8 free streams beside it see then, against the largest gap in a stretch of the same length before
"cpu" serves SmolLM2, "simulated" Qwen2.5-7B's shape on the 4x4090 profile. The machine must be quiet.
"""
import argparse
import importlib
import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

import grpc

from bench_cluster import ROOT, Cluster, machine, median, seven_b

SMALL_MODEL = pathlib.Path.home() / ".cache/quartet/models/SmolLM2-135M-Instruct.Q4_1.gguf"
SIMULATED = ["--device=simulated", "--sim_profile=4xrtx4090-bf16", "--tensor_parallel_size=4", "--max_num_batched_tokens=2048"]
# A list of objects that may go on for ever.
ENDLESS = r'''root ::= "[" item (", " item)*
item ::= "{\"name\": \"" [a-zA-Z ]* "\", \"age\": " [1-9] [0-9]? ", \"tags\": [" tag (", " tag)* "]}"
tag ::= "\"" [a-z]+ "\""
'''


def stubs(folder):
    protos = sorted(str(p.relative_to(ROOT / "proto")) for p in (ROOT / "proto/quartet/v1").glob("*.proto"))
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", f"--python_out={folder}", f"--grpc_python_out={folder}", *protos], check=True)
    sys.path.insert(0, str(folder))
    return lambda name: importlib.import_module(f"quartet.v1.{name}")


def ten_kilobytes(number):
    """A schema of about 10 kB that no other is equal to."""
    properties = {f"field_{number}_{i}": [{"type": "string", "maxLength": 40, "description": "what stands here " * 4}, {"type": "integer", "minimum": 0, "maximum": 1000 + i},
                                          {"enum": ["low", "medium", "high"]}, {"type": "array", "items": {"type": "number"}, "maxItems": 5}][i % 4] for i in range(110)}
    return json.dumps({"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False})


class Client:
    def __init__(self, address, stubs):
        self.pb, self.sampling, self.structured = stubs("inference_pb2"), stubs("sampling_pb2"), stubs("structured_output_pb2")
        self.inference = stubs("inference_pb2_grpc").InferenceStub(grpc.insecure_channel(address))

    def run(self, n, tokens, seed, stop=None, **format):
        """[(time, answer)] of each token, and the time of sending."""
        structured = self.structured.StructuredOutput(**format) if format else None
        sampling = self.sampling.SamplingParams(max_tokens=tokens, temperature=1, seed=seed, ignore_eos=True)
        start, times = time.monotonic(), []
        call = self.inference.Generate(self.pb.GenerateRequest(text="A list of people:", sampling=sampling, n=n, structured_output=structured), timeout=600)
        for event in call:
            if event.WhichOneof("event") == "delta":
                times += [(time.monotonic(), event.delta.index)] * len(event.delta.token_ids)
            if stop is not None and stop.is_set():
                call.cancel()
                break
        return start, times


def throughput(client, repetitions, tokens):
    kinds = {"free": {}, "constrained": {"ebnf_grammar": ENDLESS}}
    rates = {kind: [] for kind in kinds}
    for format in kinds.values():
        client.run(16, 20, 1, **format)  # warm
    for repetition in range(repetitions):
        for kind, format in kinds.items():
            _, times = client.run(16, tokens, 10 + repetition, **format)
            rates[kind].append((len(times) - 1) / (times[-1][0] - times[0][0]))
    result = {f"tokens_per_s {kind}": median(values) for kind, values in rates.items()}
    result["loss_percent"] = 100 * (1 - result["tokens_per_s constrained"] / result["tokens_per_s free"])
    return result


def largest_gap(times, begin, end):
    last, worst = {}, 0.0
    for at, index in times:
        if index in last and begin <= at <= end:
            worst = max(worst, at - last[index])
        last[index] = at
    return worst


def first_use(client, repetitions):
    ttfts, before_gaps, during_gaps = [], [], []
    for repetition in range(repetitions):
        stop, neighbours = threading.Event(), []
        thread = threading.Thread(target=lambda: neighbours.extend(client.run(8, 4000, 5, stop)[1]))
        thread.start()
        time.sleep(3)
        schema = ten_kilobytes(f"{time.time_ns()}")
        start, times = client.run(1, 4, 7, json_schema=schema)
        first = times[0][0]
        time.sleep(0.5)
        stop.set()
        thread.join()
        ttfts.append(1e3 * (first - start))
        before_gaps.append(1e3 * largest_gap(neighbours, start - (first - start) - 0.5, start))
        during_gaps.append(1e3 * largest_gap(neighbours, start, first + 0.3))
    return {"schema_bytes": len(schema), "ttft_ms": median(ttfts), "largest_gap_before_ms": median(before_gaps), "largest_gap_during_ms": median(during_gaps)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(SMALL_MODEL))
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--only", default="cpu,simulated")
    parser.add_argument("--json")
    options = parser.parse_args()
    report = {"machine": machine(), "command": " ".join(sys.argv), "repetitions": options.repetitions}
    with tempfile.TemporaryDirectory() as folder:
        load = stubs(pathlib.Path(folder))
        for kind in options.only.split(","):
            model, flags = (options.model, []) if kind == "cpu" else (seven_b(pathlib.Path(folder) / "seven_b"), SIMULATED)
            with Cluster(model, *flags) as cluster:
                client = Client(f"127.0.0.1:{cluster.grpc_port}", load)
                report[kind] = throughput(client, options.repetitions, options.tokens) | first_use(client, options.repetitions)
    print(json.dumps(report, indent=1))
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
