"""Fixtures: one server for the tests of a file that only ask it things; a factory for tests that end or break theirs."""

import importlib.machinery
import importlib.util
import pathlib
import sys

import pytest

from cluster import ROOT, server_starter

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
def seven_b(tmp_path_factory):
    """A directory with the 7B's config.json and tokenizer, and no weights."""
    path = ROOT / "deploy" / "sim_profiles" / "make_model"
    loader = importlib.machinery.SourceFileLoader("make_model", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("make_model", loader))
    loader.exec_module(module)
    return module.make(tmp_path_factory.mktemp("seven_b"))


@pytest.fixture(scope="session")
def simulated_server(start_server, seven_b):
    """Qwen2.5's tokenizer and chat template, and answers at once, of tokens that mean nothing. Prompt and answer are short."""
    server = start_server("--device=simulated", "--sim_profile=1xrtx4090-bf16", "--sim_time_scale=0.01", "--max_model_len=1024", model=seven_b)
    yield server
    assert server.process.poll() is None, f"the server died:\n{server.log()[-4000:]}"
    assert server.stop() == 0


@pytest.fixture(scope="session")
def stubs():
    """The public protocol's Python modules: stubs("inference_pb2")."""
    return lambda name: protocol_stubs.stubs(f"quartet.v1.{name}")
