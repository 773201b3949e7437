#!/usr/bin/env python3
"""The include checker finds what it is there to find: each planted line must be reported, and the clean one not."""
import pathlib
import subprocess
import sys
import tempfile

CHECKER = pathlib.Path(__file__).with_name("check_includes.py")
PLANTED = [
    ("gateway/a.cc", "worker/b.h", True),
    ("worker/model/a.cc", "worker/engine/b.h", True),
    ("worker/engine/a.cc", "worker/device/cpu_device.h", True),
    ("kernels/a.cc", "common/logging.h", True),
    ("worker/model/a.cc", "quartet/v1/chat.pb.h", True),
    ("common/a.cc", "gateway/b.h", True),
    ("worker/engine/a.cc", "worker/model/b.h", False),
    ("gateway/a.cc", "quartet/v1/chat.pb.h", False),
]


def run_on(source: str, include: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        for path, text in ((include, ""), (source, f'#include "{include}"\n')):
            file = pathlib.Path(folder, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return subprocess.run([sys.executable, CHECKER, folder], stdout=subprocess.DEVNULL).returncode


failures = [case for case in PLANTED if run_on(*case[:2]) != int(case[2])]
print("wrong verdict on:", failures) if failures else print(f"{len(PLANTED)} planted includes judged rightly")
sys.exit(1 if failures else 0)
