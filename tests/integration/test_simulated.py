"""The simulated device: a whole cluster of Qwen2.5-7B's shape on four simulated GPUs, without weights."""

import concurrent.futures
import json
import subprocess
import time

import grpc
import pytest

from cluster import ROOT, binary, stream_text

PROMPTS = ["The capital of France is", "Once upon a time", "def fibonacci(n):", "请解释牛顿第一定律，并举例说明。"]


@pytest.fixture(scope="module")
def four_gpus(start_server, seven_b):
    server = start_server("--device=simulated", "--sim_profile=4xrtx4090-bf16", "--tensor_parallel_size=4", model=seven_b)
    yield server
    assert server.stop() == 0


def requests_of(prompts):
    """Greedy and sampled, short and long: each with what makes it repeatable."""
    return [(prompt * (1 + 40 * (i % 2)), {"max_tokens": 48, "seed": i, "temperature": 0.8 * (i % 3)}) for i, prompt in enumerate(prompts * 4)]


def test_streams_are_equal_alone_and_together(four_gpus):
    requests = requests_of(PROMPTS)
    alone = [stream_text(four_gpus, prompt, **parameters)[:2] for prompt, parameters in requests]
    assert len({text for text, _ in alone}) > len(PROMPTS), "the texts hardly differ"
    with concurrent.futures.ThreadPoolExecutor(len(requests)) as pool:
        together = list(pool.map(lambda r: stream_text(four_gpus, r[0], **r[1])[:2], requests))
    assert together == alone


def test_a_step_takes_the_time_of_the_profile(four_gpus):
    """One stream's step reads 3.5 GB a GPU at 1008 GB/s and does 57 all-reduces of 20 us: 4.8 ms. So 100 tokens take 0.48 s at least."""
    start = time.monotonic()
    four_gpus.complete(PROMPTS[0], max_tokens=100, ignore_eos=True, temperature=0)
    assert time.monotonic() - start > 0.475


def test_the_server_says_that_its_device_is_simulated(four_gpus, stubs):
    with grpc.insecure_channel(four_gpus.grpc_address) as channel:
        control = stubs("control_pb2_grpc").ControlStub(channel)
        info = control.GetServerInfo(stubs("control_pb2").GetServerInfoRequest(), timeout=10)
        model = control.GetModelInfo(stubs("control_pb2").GetModelInfoRequest(), timeout=10)
        load = control.GetLoad(stubs("control_pb2").GetLoadRequest(), timeout=10)
    assert info.device == "simulated" and info.numerics_id.startswith("simulated")
    assert info.world_size == 4 and len(info.ranks) == 4
    assert len(four_gpus.pids_of("quartet-worker")) == 4
    assert model.num_parameters == 7_615_616_512 and model.max_model_len == 32768
    for rank in info.ranks:
        assert rank.weight_bytes == pytest.approx(3.81e9, rel=0.01)
    # 0.9 of 24 GB less the weights, at 14336 bytes a token.
    assert load.num_kv_blocks * load.kv_block_tokens == pytest.approx(1.241e6, rel=0.01)


def refusal(model, *flags):
    result = subprocess.run(
        [binary("quartet"), "serve", f"--model={model}", "--http_port=0", "--grpc_port=0", "--device=simulated", *flags],
        capture_output=True, text=True, timeout=120)
    assert result.returncode != 0
    return result.stderr.strip().splitlines()[-1]


def test_wrong_profiles_are_refused_with_what_would_work(seven_b, tmp_path):
    assert "--sim_profile is missing" in refusal(seven_b)
    assert "4xrtx4090-bf16" in refusal(seven_b, "--sim_profile=8xh100")
    assert "--tensor_parallel_size=4" in refusal(seven_b, "--sim_profile=4xl40s-bf16")
    assert "--sim_time_scale=0" in refusal(seven_b, "--sim_profile=1xrtx4090-bf16", "--sim_time_scale=0")
    profile = json.loads((ROOT / "deploy/sim_profiles/1xrtx4090-bf16.json").read_text())
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(profile | {"memory_bandwidth_gb_per_s": "fast"}))
    message = refusal(seven_b, f"--sim_profile={broken}")
    assert str(broken) in message and 'memory_bandwidth_gb_per_s is \\"fast\\"' in message
