#!/usr/bin/env python3
"""Reads every #include of our sources and checks that data flows one way through the folders.

The rules are the arrows of ARCHITECTURE.md. A folder may include itself, what its rule names, and system headers.
Run: check_includes.py [ROOT]. Exits 1 and names each line that breaks a rule.
"""
import pathlib
import re
import sys

# folder -> folders that it may include (beside itself). The longest matching folder decides.
ALLOWED = {
    "common": [],
    "kernels": ["common/status_macros.h"],
    "tokenizer_service": ["common", "proto"],
    "gateway": ["common", "proto"],
    "worker/device": ["common", "kernels"],
    "worker/parallel": ["common", "kernels", "worker/device"],
    "worker/model": ["common", "kernels", "worker/device", "worker/parallel"],
    "worker/grammar": ["common"],
    "worker/engine": ["common", "kernels/sampling.h", "kernels/ops.h", "worker/grammar/grammar.h", "worker/model"],
    "worker/simulated": ["common", "kernels", "worker/device/device.h", "worker/model", "worker/parallel"],
    "worker": ["common", "proto", "kernels", "worker/device", "worker/parallel", "worker/model", "worker/grammar", "worker/engine", "worker/simulated"],
    "cli": ["common", "proto"],
}
# Protobuf and gRPC stop at the service faces and clients.
NO_PROTO = ["kernels", "worker/device", "worker/grammar", "worker/parallel", "worker/model", "worker/engine", "worker/simulated"]
# Only the device and the kernels know the kind of device.
DEVICE_KINDS = re.compile(r"worker/device/(cpu|cuda)_device\.h|worker/simulated/|kernels/(cpu|cuda)/")
DEVICE_KINDS_ALLOWED = ("worker/device/", "worker/simulated/", "kernels/", "worker/main.cc", "worker/worker_setup.")

INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')
SUFFIXES = {".h", ".cc", ".cu", ".cuh"}


def folder_of(path: str):
    matches = [f for f in ALLOWED if path == f or path.startswith(f + "/")]
    return max(matches, key=len) if matches else None


def is_test(path: str) -> bool:
    return path.endswith("_test.cc") or "/testing/" in path


def target_of(bracket: str, include: str, root: pathlib.Path) -> str | None:
    """The repository path that an include means, or None for a system header."""
    if include.startswith("quartet/"):
        return "proto/" + include
    if bracket == '"' and (root / include).exists():
        return include
    return None


def check_file(root: pathlib.Path, path: pathlib.Path):
    relative = path.relative_to(root).as_posix()
    folder = folder_of(relative)
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = INCLUDE.match(line)
        if not match or folder is None:
            continue
        include = match.group(2)
        target = target_of(match.group(1), include, root)
        where = f"{relative}:{number}: includes {include}"
        if any(relative.startswith(f + "/") for f in NO_PROTO) and not is_test(relative):
            if target and target.startswith("proto/") or include.startswith(("grpcpp/", "google/protobuf")):
                yield f"{where}: protobuf and gRPC stop at the service faces"
        if target is None or is_test(relative):
            continue
        if DEVICE_KINDS.match(target) and not relative.startswith(DEVICE_KINDS_ALLOWED):
            yield f"{where}: only worker/device, kernels and main know the kind of device"
        if folder_of(target) == folder:
            continue
        if not any(target == a or target.startswith(a + "/") for a in ALLOWED[folder]):
            yield f"{where}: {folder} may include only {', '.join(ALLOWED[folder]) or 'nothing of ours'}"


def main() -> int:
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2]).resolve()
    files = [p for top in {f.split("/")[0] for f in ALLOWED} for p in sorted((root / top).rglob("*")) if p.suffix in SUFFIXES]
    broken = [message for path in files for message in check_file(root, path)]
    print("\n".join(broken) or f"{len(files)} files: every include follows the arrows")
    return 1 if broken or not files else 0


if __name__ == "__main__":
    sys.exit(main())
