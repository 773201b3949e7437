"""The documents' grpcurl lines. grpcurl is built from its sources, as grpcurl/go.mod and go.sum pin them, which takes a minute."""

import os
import pathlib
import shutil
import subprocess

import pytest

from cluster import BUILD
from fenced_blocks import all_blocks

HERE = pathlib.Path(__file__).parent
BLOCKS = [block for block in all_blocks() if "grpcurl" in block.code]


@pytest.fixture(scope="module")
def folder_of_grpcurl():
    assert shutil.which("go"), "go is missing: deploy/local/setup --all installs it"
    folder = BUILD / "tests/bin"
    subprocess.run(["go", "build", "-o", folder / "grpcurl", "github.com/fullstorydev/grpcurl/cmd/grpcurl"], cwd=HERE / "grpcurl", check=True,
                   env={**os.environ, "GOFLAGS": "-buildvcs=false"}, timeout=600)
    return folder


@pytest.mark.parametrize("block", BLOCKS, ids=[block.place for block in BLOCKS])
def test_a_grpcurl_block(block, server, folder_of_grpcurl):
    environment = {**os.environ, "PATH": f"{folder_of_grpcurl}:{os.environ['PATH']}"}
    code = block.at(f"127.0.0.1:{server.http_port}", server.grpc_address)
    result = subprocess.run(["bash", "-euo", "pipefail", "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, f"{block.place}\n{result.stdout}\n{result.stderr}"
    assert "quartet.v1.Inference" in result.stdout or '"max_model_len"' in result.stdout or '"usage"' in result.stdout, result.stdout
