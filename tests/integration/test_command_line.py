"""The other subcommands of `quartet`, and that it knows the flags of its services."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time

import pytest

from cluster import binary, wait_until


def quartet(*arguments, **options):
    return subprocess.run([binary("quartet"), *arguments], capture_output=True, text=True, timeout=180, **options)


def test_chat_answers_lines_of_a_pipe_and_remembers(server):
    result = quartet("chat", f"--address={server.grpc_address}", "--temperature=0", "--max_tokens=40",
                     input="What is the capital of France?\n/reset\n/help\nWhat is 1+1?\n")
    assert result.returncode == 0, result.stderr
    assert "Paris" in result.stdout and "/reset forgets" in result.stdout


def test_chat_says_when_nobody_answers():
    result = quartet("chat", "--address=127.0.0.1:1", input="hello\n")
    assert result.returncode == 1
    assert "127.0.0.1:1" in result.stderr and "quartet serve" in result.stderr


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, *command):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(command[0], command)
        self.output = ""
        os.set_blocking(self.fd, False)

    def read(self):
        try:
            self.output += os.read(self.fd, 65536).decode(errors="replace")
        except (BlockingIOError, OSError):
            pass
        return self.output

    def wait_for(self, text, after=0):
        wait_until(lambda: text in self.read()[after:], 60, f"{text!r} in {self.output!r}")

    def type(self, text):
        os.write(self.fd, text.encode())


def test_ctrl_c_stops_the_answer_only(server):
    terminal = Terminal(binary("quartet"), "chat", f"--address={server.grpc_address}", "--max_tokens=4000")
    terminal.wait_for("> ")
    terminal.type("Write a very long story about a ship, with many chapters.\n")
    wait_until(lambda: len(terminal.read()) > 400, 60, "the answer runs")
    terminal.type("\x03")
    terminal.wait_for("[stopped]")
    wait_until(lambda: server.metric("quartet_num_requests_running") == 0, 5, "the request is freed")
    seen = len(terminal.output)
    terminal.type("\x03")
    terminal.wait_for("/exit or Ctrl-D leaves", after=seen)
    terminal.type("/exit\n")
    _, status = os.waitpid(terminal.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("load", [["--concurrency=4"], ["--request_rate=20"]], ids=["closed_loop", "poisson"])
def test_bench_counts_what_it_asked_for(server, tmp_path, load):
    file = tmp_path / "report.json"
    result = quartet("bench", f"--address={server.grpc_address}", "--num_requests=8", "--prompt_tokens=20", "--output_tokens=10",
                     f"--json={file}", *load)
    assert result.returncode == 0, result.stderr
    report = json.loads(file.read_text())
    assert (report["num_failed"], report["prompt_tokens"], report["output_tokens"]) == (0, 160, 80)
    assert 0 < report["ttft_ms"]["p50"] <= report["ttft_ms"]["p90"] <= report["ttft_ms"]["p99"]
    assert report["output_tokens_per_s"] > 0 and report["inter_token_ms"]["p50"] > 0
    assert "time to first token" in result.stdout and "p99" in result.stdout


def test_bench_loads_the_http_api_too(server, tmp_path):
    report_file, trace_file = tmp_path / "report.json", tmp_path / "trace.jsonl"
    result = quartet("bench", f"--address={server.url}", "--num_requests=8", "--prompt_tokens=20", "--output_tokens=10", "--concurrency=4",
                     f"--json={report_file}", f"--trace={trace_file}")
    assert result.returncode == 0, result.stderr
    report = json.loads(report_file.read_text())
    assert (report["num_failed"], report["num_cut"], report["output_tokens"]) == (0, 0, 80)
    # Words, of one token each for the most part.
    assert 150 <= report["prompt_tokens"] <= 320
    trace = [json.loads(line) for line in trace_file.read_text().splitlines()]
    assert len(trace) == 8
    for request in trace:
        assert request["ok"] and request["output_tokens"] == 10
        assert request["sent_s"] < request["token_times_s"][0] <= request["token_times_s"][-1] <= request["finished_s"]


def test_bench_breaks_off_what_runs_when_its_time_is_over(server, tmp_path):
    file = tmp_path / "report.json"
    result = quartet("bench", f"--address={server.url}", "--num_requests=1000000", "--output_tokens=4000", "--concurrency=4", "--duration_s=2",
                     f"--json={file}")
    assert result.returncode == 0, result.stderr
    report = json.loads(file.read_text())
    assert report["num_failed"] == 0 and report["num_cut"] == 4 and report["output_tokens"] > 0


def test_bench_reports_when_it_is_interrupted(server, tmp_path):
    file = tmp_path / "report.json"
    wait_until(lambda: server.metric("quartet_num_requests_running") == 0, 60, "nothing else runs")
    process = subprocess.Popen([binary("quartet"), "bench", f"--address={server.url}", "--num_requests=4", "--output_tokens=4000", f"--json={file}"])
    wait_until(lambda: server.metric("quartet_num_requests_running") == 4, 60, "the streams run")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert json.loads(file.read_text())["num_cut"] == 4


def test_bench_reports_failures():
    assert quartet("bench", "--address=127.0.0.1:1").returncode == 1
    assert quartet("bench", "--address=http://127.0.0.1:1").returncode == 1
    result = quartet("bench", "--address=http://localhost")
    assert result.returncode != 0 and "http://HOST:PORT" in result.stderr


def test_doctor_finds_this_machine_fit_or_names_what_is_missing():
    result = quartet("doctor", "--http_port=0", "--grpc_port=0")
    assert result.returncode == 0, result.stdout + result.stderr
    result = quartet("doctor", "--model=/no/such/model")
    assert result.returncode == 1 and "/no/such/model" in result.stdout


def test_serve_names_an_unknown_flag_and_its_neighbour():
    result = quartet("serve", "--tensor_paralel_size=3")
    assert result.returncode == 2
    assert "--tensor_paralel_size" in result.stderr and "--tensor_parallel_size" in result.stderr


def test_serve_without_a_model_says_how_to_get_one(tmp_path):
    result = quartet("serve", env={**os.environ, "QUARTET_CACHE": str(tmp_path)})
    assert result.returncode == 1 and "fetch_models" in result.stderr and "--model=" in result.stderr


def test_supervise_starts_its_child_again_and_passes_sigterm_on(tmp_path):
    log = tmp_path / "lives"
    child = [sys.executable, "-c", f"open({str(log)!r}, 'a').write('x'); import time; time.sleep(1000)"]
    process = subprocess.Popen([binary("quartet"), "supervise", "--", *child], stderr=subprocess.PIPE, text=True)
    lives = lambda: len(log.read_text()) if log.exists() else 0

    def child_pid():
        with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
            return int(file.read().split()[0])

    wait_until(lambda: lives() == 1, 10, "the child runs")
    time.sleep(1.2)  # longer than what counts as a short life
    os.kill(child_pid(), signal.SIGKILL)
    wait_until(lambda: lives() == 2, 10, "the child runs again")
    last = child_pid()
    process.terminate()
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == 0 and "was killed by signal 9" in stderr
    assert not os.path.exists(f"/proc/{last}")


def flags_of(name):
    """Flags of a service's own files, from its help."""
    result = subprocess.run([binary(name), "--help"], capture_output=True, text=True, timeout=20)
    return set(re.findall(r"^ +--([a-z_0-9]+) ", result.stdout, re.MULTILINE)) - {"help", "flagfile", "version"}


def test_serve_knows_the_flags_of_all_services():
    known = set(re.findall(r"^ +--([a-z_0-9]+)  ", quartet("serve", "--help").stdout, re.MULTILINE))
    owned = {"address", "rank", "world_size", "leader_address", "tokenizer_address", "worker_address", "announce_file",
             "die_with_parent", "local_ranks", "heartbeat_fd"}
    services = flags_of("quartet-tokenizer") | flags_of("quartet-worker") | flags_of("quartet-gateway")
    assert services - known - owned == set(), "flags of a service that serve does not pass on (cli/service_flags.cc)"
    assert known - services == {"tensor_parallel_size", "groups", "gateways", "heartbeat_timeout", "flagfile"}
