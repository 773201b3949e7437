"""What the documents tell people to copy works as it stands: marked blocks of README and docs/clients.md, and docs/examples."""

import os
import subprocess

import pytest

import node_project
from cluster import ROOT
from fenced_blocks import all_blocks

BLOCKS = [block for block in all_blocks() if "grpcurl" not in block.code]


@pytest.fixture(scope="session")
def environment(tmp_path_factory, client_python):
    """Environment of a user's shell: Python is the one with the client, and curl ends with an error where the server answers with one."""
    home = tmp_path_factory.mktemp("home")
    (home / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n")
    return {**os.environ, "CURL_HOME": str(home), "PATH": f"{client_python.parent}:{os.environ['PATH']}"}


@pytest.fixture(scope="session")
def server_of(start_server, server, seven_b):
    """server_of(None): the small model. server_of("qwen2.5-7b"): that model's shape on simulated GPUs, with its long context."""
    large = []

    def get(model):
        if model is None:
            return server
        if not large:
            scaling = '{"rope_type":"yarn","factor":4,"original_max_position_embeddings":32768}'
            large.append(start_server("--device=simulated", "--sim_profile=4xrtx4090-bf16", "--tensor_parallel_size=4",
                                      "--sim_time_scale=0.1", f"--model_name={model}",
                                      "--max_model_len=131072", f"--rope_scaling={scaling}", model=seven_b))
        return large[0]

    yield get
    assert all(server.stop() == 0 for server in large)


def run_block(block, server, environment, folder):
    code = block.at(f"127.0.0.1:{server.http_port}", server.grpc_address)
    command = {"sh": ["bash", "-euo", "pipefail", "-c", code], "python": ["python", "-c", code]}[block.language]
    environment = {**environment, "QUARTET_ADDRESS": server.grpc_address}
    result = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, f"{block.place}\n{result.stdout}\n{result.stderr}"
    assert result.stdout.strip(), f"{block.place} printed nothing"
    return result.stdout


@pytest.mark.parametrize("block", BLOCKS, ids=[block.place for block in BLOCKS])
def test_a_block_of_the_documents(block, server_of, environment, tmp_path):
    output = run_block(block, server_of(block.model), environment, tmp_path)
    assert '"error"' not in output


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "docs/examples").glob("*.py")))
def test_a_python_example(name, server, environment, tmp_path):
    environment = {**environment, "QUARTET_HTTP": server.url, "QUARTET_ADDRESS": server.grpc_address}
    result = subprocess.run(["python", ROOT / "docs/examples" / name], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(result.stdout.splitlines()) >= 2


def test_the_typescript_example(server):
    build = node_project.run(["npm", "run", "--silent", "build"], server)
    assert build.returncode == 0, build.stdout + build.stderr
    result = node_project.run(["npm", "start", "--silent"], server)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.strip()
