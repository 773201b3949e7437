"""Python modules of Quartet's protocols for all tests: generated from proto/ once a process, when the first one is asked for."""

import atexit
import functools
import importlib
import pathlib
import shutil
import subprocess
import sys
import tempfile

PROTO = pathlib.Path(__file__).resolve().parents[1] / "proto"


@functools.cache
def _generate():
    out = tempfile.mkdtemp(prefix="quartet-stubs-")
    atexit.register(shutil.rmtree, out, ignore_errors=True)
    files = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", f"--python_out={out}", f"--grpc_python_out={out}", *files],
                   check=True)
    sys.path.insert(0, out)


def stubs(module):
    """The generated module of that name: stubs("quartet.v1.inference_pb2")."""
    _generate()
    return importlib.import_module(module)
