"""Fixtures: one server for the tests of a file that only ask it things; a factory for tests that end or break theirs."""

import pathlib
import sys

import pytest

from cluster import server_starter

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import protocol_stubs  # noqa: E402


@pytest.fixture(scope="session")
def start_server(tmp_path_factory):
    """start_server(*flags, **options): a ready server, ended after the last test of the run."""
    with server_starter(tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="session")
def server(start_server):
    """One rank with the small model. Tests that use it must leave it as it was."""
    server = start_server()
    yield server
    assert server.process.poll() is None, f"the server died:\n{server.log()[-4000:]}"
    assert server.stop() == 0


@pytest.fixture(scope="session")
def stubs():
    """The public protocol's Python modules: stubs("inference_pb2")."""
    return lambda name: protocol_stubs.stubs(f"quartet.v1.{name}")
