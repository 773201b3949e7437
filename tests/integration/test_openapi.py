"""schemathesis, an independent tool, reads /openapi.json and sends what it says may and may not be sent: nothing may be answered with a 5xx, with
a status or a content type that the description doesn't name, or with a body that doesn't fit it; and what the description forbids is refused. The
simulated device keeps answers fast."""

import json
import pathlib
import subprocess
import sys

import requests

CHECKS = ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
          "response_schema_conformance", "negative_data_rejection", "unsupported_method"]


def run_schemathesis(server, folder, *options):
    """The exit code and what it printed. One worker: hypothesis parses its own source, which Python 3.11 can't do in two threads at once."""
    report = pathlib.Path(folder) / "report.json"
    command = [sys.executable, "-m", "schemathesis.cli", "run", server.url + "/openapi.json", "--checks", ",".join(CHECKS), "--workers", "1",
               "--request-timeout", "60", "--no-color", "--warnings", "off", "--report-json-path", str(report), *options]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=1500)
    return result.returncode, result.stdout + result.stderr


def check(server, folder, *options):
    code, output = run_schemathesis(server, folder, *options)
    assert code == 0, output[-12000:]
    assert requests.get(server.url + "/health", timeout=60).status_code == 200


def test_no_request_gets_an_undocumented_answer(simulated_server, tmp_path):
    check(simulated_server, tmp_path, "--phases", "examples,coverage,fuzzing", "--max-examples", "12", "--max-time", "40", "--seed", "1")


def test_the_description_is_served_as_it_stands(simulated_server):
    response = requests.get(simulated_server.url + "/openapi.json", timeout=10)
    assert response.headers["Content-Type"] == "application/json"
    described = json.loads((pathlib.Path(__file__).parents[2] / "gateway/http/openapi.json").read_text())
    assert response.json() == described
