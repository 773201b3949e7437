"""Fixtures: clusters that the tests of a file share and must leave running."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
from cluster import Server  # noqa: E402


@pytest.fixture(scope="module")
def start_server(tmp_path_factory):
    """start_server(*flags, **options): a ready server, ended after the last test of the file."""
    servers = []

    def start(*flags, **options):
        server = Server(*flags, log_path=tmp_path_factory.mktemp("serve") / "serve.log", **options)
        servers.append(server)
        return server.wait_ready()

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.kill()
