"""deploy/local/up and down, on the binaries of this build."""

import os
import pathlib
import subprocess

import pytest
import requests

from cluster import BUILD, ROOT, processes_of_session


@pytest.fixture
def script(tmp_path):
    environment = {**os.environ, "QUARTET_BUILD": str(BUILD), "QUARTET_RUN": str(tmp_path / "run")}

    def run(name, *arguments, **options):
        # From another directory: the scripts find their own place.
        return subprocess.run([str(ROOT / "deploy/local" / name), *arguments], cwd="/", env={**environment, **options},
                              capture_output=True, text=True, timeout=600)

    yield run
    run("down")


def port_of(output):
    (line,) = [line for line in output.splitlines() if line.startswith("Inference server is ready on port ")]
    return int(line.split()[-1])


def test_up_serves_and_down_leaves_nothing(script, tmp_path):
    up = script("up", "--detach", "--", "--http_port=0", "--grpc_port=0")
    assert up.returncode == 0, up.stdout + up.stderr
    port = port_of(up.stdout)
    answer = requests.post(f"http://127.0.0.1:{port}/v1/completions",
                           json={"prompt": "The capital of France is", "max_tokens": 4}, timeout=60)
    assert answer.json()["choices"][0]["text"]

    again = script("up", "--detach")
    assert again.returncode == 0 and "already running" in again.stdout and port_of(again.stdout) == port

    session = int((tmp_path / "run/quartet.pid").read_text())
    assert len(processes_of_session(session)) == 4
    down = script("down")
    assert down.returncode == 0, down.stdout + down.stderr
    assert processes_of_session(session) == {}
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get(f"http://127.0.0.1:{port}/health", timeout=5)
    assert script("down").returncode == 0


def test_up_shows_why_the_server_did_not_start(script):
    up = script("up", "--detach", "--", "--tensor_parallel_size=2", "--http_port=0", "--grpc_port=0")
    assert up.returncode == 1
    assert "worker rank" in up.stderr and "ended before it was ready" in up.stderr


def test_up_without_a_model_and_a_network_says_how_to_give_one(script, tmp_path):
    # The cache of this run has the Python environment but no model, and pip can reach nobody.
    cache = tmp_path / "cache"
    cache.mkdir()
    real = pathlib.Path(os.environ.get("QUARTET_CACHE", pathlib.Path.home() / ".cache/quartet"))
    (cache / "venv").symlink_to(real / "venv")
    up = script("up", "--detach", QUARTET_CACHE=str(cache), PIP_NO_INDEX="1", PIP_FIND_LINKS="", PIP_CONFIG_FILE="/dev/null")
    assert up.returncode == 1
    assert "deploy/local/up -- --model=PATH" in up.stderr


def test_unknown_options_are_named(script):
    for name in ("up", "down", "setup", "fetch_models", "build_libraries"):
        result = script(name, "--bogus")
        assert result.returncode == 1 and "--bogus" in result.stderr
    assert "not part of this release" in script("setup", "--cuda").stderr
