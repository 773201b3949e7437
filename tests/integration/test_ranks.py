"""Tensor parallelism: more ranks, the same text."""

import re
import subprocess

import grpc
import pytest

from cluster import MODEL, binary

PROMPTS = ["The capital of France is", "Once upon a time", "def fibonacci(n):", "请解释牛顿第一定律，并举例说明。"]


@pytest.fixture(scope="module")
def three_ranks(start_server):
    server = start_server("--tensor_parallel_size=3")
    yield server
    assert server.stop() == 0


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 0.9, "top_p": 0.95, "seed": 42}], ids=["greedy", "sampled"])
def test_three_ranks_give_the_text_of_one(server, three_ranks, prompt, sampling):
    one = server.complete(prompt, max_tokens=64, **sampling)
    three = three_ranks.complete(prompt, max_tokens=64, **sampling)
    assert three["choices"] == one["choices"]
    assert three["usage"] == one["usage"]


def test_three_processes_hold_a_third_each(server, three_ranks, stubs):
    assert len(three_ranks.pids_of("quartet-worker")) == 3

    def weights(of):
        with grpc.insecure_channel(of.grpc_address) as channel:
            control = stubs("control_pb2_grpc").ControlStub(channel)
            return control.GetServerInfo(stubs("control_pb2").GetServerInfoRequest(), timeout=10).ranks

    (whole,) = weights(server)
    thirds = weights(three_ranks)
    assert sorted(rank.pid for rank in thirds) == sorted(three_ranks.pids_of("quartet-worker"))
    for rank in thirds:
        assert rank.weight_bytes == pytest.approx(whole.weight_bytes / 3, rel=0.05)
    # Each says so in its log, too.
    logged = re.findall(r" rank holds rank=(\d+) weight_bytes=(\d+) kv_cache_bytes=\d+ kv_cache_tokens=\d+", three_ranks.log())
    assert sorted((int(rank), int(size)) for rank, size in logged) == sorted((rank.rank, rank.weight_bytes) for rank in thirds)


def test_a_world_size_that_does_not_divide_the_heads_is_refused_with_those_that_do():
    result = subprocess.run(
        [binary("quartet"), "serve", f"--model={MODEL}", "--tensor_parallel_size=2", "--http_port=0", "--grpc_port=0"],
        capture_output=True, text=True, timeout=120)
    assert result.returncode != 0
    message = result.stderr.strip().splitlines()[-1]
    assert message.startswith("quartet serve: worker rank") and "2" in message
    assert re.search(r"\b1\b.*\b3\b", message), f"the sizes that work are not named: {message}"
