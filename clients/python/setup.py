"""Adds quartet.v1, the protocol's Python modules, to what is built: generated from the .proto files, never kept beside them."""

import pathlib
import shutil

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = pathlib.Path(__file__).resolve().parent
PACKAGE = "quartet/v1"


def proto_folder():
    """The repository's proto/, or the copy that a source distribution carries."""
    for folder in (HERE / "proto", HERE.parents[1] / "proto"):
        if (folder / PACKAGE).is_dir():
            return folder
    raise FileNotFoundError(f"no proto/{PACKAGE} in {HERE} or {HERE.parents[1]}: build from a whole checkout or a source distribution")


class BuildWithProtocol(build_py):
    def run(self):
        super().run()
        # Here and not above: only this step needs grpcio-tools.
        from grpc_tools import protoc

        proto, out = proto_folder(), pathlib.Path(self.build_lib)
        out.mkdir(parents=True, exist_ok=True)
        files = sorted(str(path.relative_to(proto)) for path in (proto / PACKAGE).glob("*.proto"))
        command = ["protoc", f"-I{proto}", f"--python_out={out}", f"--pyi_out={out}", f"--grpc_python_out={out}", *files]
        if protoc.main(command) != 0:
            raise RuntimeError(f"protoc failed: {command}")


class SdistWithProtocol(sdist):
    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        target = pathlib.Path(base_dir) / "proto" / PACKAGE
        shutil.copytree(proto_folder() / PACKAGE, target, dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithProtocol, "sdist": SdistWithProtocol})
