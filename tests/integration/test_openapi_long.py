"""The same as test_openapi.py, for minutes, with another seed every time."""

import secrets

from test_openapi import check


def test_no_request_gets_an_undocumented_answer(simulated_server, tmp_path):
    seed = secrets.randbelow(1 << 30)
    print(f"seed {seed}")
    check(simulated_server, tmp_path, "--max-examples", "400", "--max-time", "600", "--seed", str(seed))
