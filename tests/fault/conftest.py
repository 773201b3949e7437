"""Fixtures: clusters that the tests of a file share and must leave running."""

import pathlib
import sys

import grpc
import pytest

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "integration")]
from cluster import server_starter  # noqa: E402
from protocol_stubs import stubs  # noqa: E402


@pytest.fixture(scope="module")
def start_server(tmp_path_factory):
    """start_server(*flags, **options): a ready server, ended after the last test of the file."""
    with server_starter(tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="session")
def leader_info():
    """leader_info(server, group=0): what the leader says of its group, over its own socket."""
    messages = stubs("quartet.worker.v1.worker_pb2")
    engine = stubs("quartet.worker.v1.worker_pb2_grpc")

    def ask(server, group=0):
        socket = "worker.sock" if group == 0 else f"worker-{group}.sock"
        (folder,) = {word.partition("=")[2] for word in server.log().split() if word.startswith("runtime_dir=")}
        with grpc.insecure_channel(f"unix:{folder}/{socket}") as channel:
            return engine.EngineStub(channel).GetInfo(messages.GetInfoRequest(), timeout=20)

    return ask
