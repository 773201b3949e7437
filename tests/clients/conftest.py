"""Fixtures: the server of the integration tests, and the Python client installed from its wheel."""

import importlib.util
import pathlib
import shutil
import subprocess
import sys

import pytest

TESTS = pathlib.Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
sys.path[:0] = [str(TESTS), str(TESTS / "integration")]

# The fixtures of the integration tests. Not by import: both files are called conftest.
_spec = importlib.util.spec_from_file_location("integration_conftest", TESTS / "integration/conftest.py")
_integration = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_integration)
start_server, server, seven_b = _integration.start_server, _integration.server, _integration.seven_b


@pytest.fixture(scope="session")
def client_wheel(tmp_path_factory):
    """The wheel, built from copies: a build leaves files beside its sources."""
    work = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "clients/python", work / "clients/python", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    shutil.copytree(ROOT / "proto", work / "proto")
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-build-isolation", "--no-deps",
                    f"--wheel-dir={work}/out", str(work / "clients/python")], check=True)
    (wheel,) = (work / "out").iterdir()
    return wheel


@pytest.fixture(scope="session")
def client_python(client_wheel, tmp_path_factory):
    """The Python of a fresh environment with the wheel in it. What the wheel needs comes from the tests' own environment."""
    import grpc

    venv = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = venv / "bin/python"
    (packages,) = venv.glob("lib/python3*/site-packages")
    (packages / "tests_environment.pth").write_text(str(pathlib.Path(grpc.__file__).parents[1]) + "\n")
    subprocess.run([sys.executable, "-m", "pip", f"--python={python}", "install", "--quiet", "--disable-pip-version-check", "--no-index",
                    str(client_wheel)], check=True)
    return python


@pytest.fixture(scope="session")
def quartet_client(client_wheel, tmp_path_factory):
    """The package, imported as a wheel leaves it."""
    target = tmp_path_factory.mktemp("installed")
    shutil.unpack_archive(client_wheel, target, "zip")
    sys.path.insert(0, str(target))
    import quartet_client

    assert pathlib.Path(quartet_client.__file__).is_relative_to(target)
    return quartet_client
