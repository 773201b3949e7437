#!/usr/bin/env python3
"""The checker of parameters finds what it is there to find: each planted fault must be reported, and the sources as they are not."""
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TESTS, DOCS = "tests/integration", "docs/api.md"
# File, text, its replacement, words of the report.
PLANTED = [
    (DOCS, "| `top_k` |", "| `top_kk` |", "no row for top_k,"),
    (DOCS, "| `stream_options.include_usage` |", "| `stream_options.usage` |", "no row for stream_options.include_usage,"),
    (DOCS, "| `moderation` |", "| `moderated` |", "moderation is refused in one of"),
    (DOCS, "`test_seed`", "`test_seeds`", "names test_seeds"),
    (TESTS + "/test_parameters_of_output.py", "def test_min_p(", "def try_min_p(", "names test_min_p, which"),
    (TESTS + "/parameters.py", '"watermarking": True,', "", "watermarking is refused in one of"),
    ("gateway/http/common_fields.cc", '"min_p"', '"min_q"', "no row for min_q,"),
    ("gateway/http/structured_output_fields.cc", '"guided_regex"', '"guided_pattern"', "no row for guided_pattern,"),
]


def report(fault) -> str:
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for part in (DOCS, TESTS, "gateway/http"):
            target = root / part
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if (ROOT / part).is_dir() else shutil.copy)(ROOT / part, target)
        if fault:
            path, old, new, _ = fault
            text = (root / path).read_text()
            assert old in text, fault
            (root / path).write_text(text.replace(old, new, 1))
        run = subprocess.run([sys.executable, HERE / "check_parameters.py", root], stdout=subprocess.PIPE, text=True)
        assert (run.returncode != 0) == bool(fault), run.stdout
        return run.stdout


failures = [fault for fault in PLANTED if fault[3] not in report(fault)]
report(None)
if failures:
    sys.exit("not reported: " + ", ".join(map(str, failures)))
print(f"{len(PLANTED)} planted faults found")
