"""Fixtures: clusters that the tests of a file share and must leave running."""

import importlib
import pathlib
import subprocess
import sys

import grpc
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
from cluster import ROOT, server_starter  # noqa: E402


@pytest.fixture(scope="module")
def start_server(tmp_path_factory):
    """start_server(*flags, **options): a ready server, ended after the last test of the file."""
    with server_starter(tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="session")
def leader_info(tmp_path_factory):
    """leader_info(server, group=0): what the leader says of its group, over its own socket."""
    out = tmp_path_factory.mktemp("stubs")
    protos = sorted(str(path.relative_to(ROOT / "proto")) for path in (ROOT / "proto/quartet").glob("*v1/*.proto"))
    protos += ["quartet/worker/v1/worker.proto"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", f"--python_out={out}",
                    f"--grpc_python_out={out}", *protos], check=True)
    sys.path.insert(0, str(out))
    messages = importlib.import_module("quartet.worker.v1.worker_pb2")
    stubs = importlib.import_module("quartet.worker.v1.worker_pb2_grpc")

    def ask(server, group=0):
        socket = "worker.sock" if group == 0 else f"worker-{group}.sock"
        (folder,) = {word.partition("=")[2] for word in server.log().split() if word.startswith("runtime_dir=")}
        with grpc.insecure_channel(f"unix:{folder}/{socket}") as channel:
            return stubs.EngineStub(channel).GetInfo(messages.GetInfoRequest(), timeout=20)

    yield ask
    sys.path.remove(str(out))
