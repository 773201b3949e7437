"""What serve promises about its processes: they come back, end in order, and never outlive it."""

import os
import pathlib
import signal
import subprocess
import threading

import pytest
import requests

from cluster import MODEL, Server, binary, processes_of_session, sse_events, wait_until

STORY = {"prompt": "Once upon a time", "max_tokens": 300, "temperature": 0.8, "seed": 11, "ignore_eos": True}


@pytest.fixture
def fresh(start_server):
    return start_server()


def runtime_folder(server):
    (line,) = [line for line in server.log().splitlines() if "runtime_dir=" in line]
    return pathlib.Path(line.partition("runtime_dir=")[2].split()[0])


def read_stream(server, body, on_token):
    """Text of a streamed completion; calls on_token with the number of events so far."""
    text, events, done = "", 0, False
    with server.post("/v1/completions", {**body, "stream": True}, stream=True) as response:
        assert response.status_code == 200, response.text
        for event in sse_events(response):
            if event == "[DONE]":
                done = True
                continue
            assert "error" not in event, event
            text += event["choices"][0]["text"]
            events += 1
            on_token(events)
    assert done
    return text


@pytest.mark.parametrize("flags", [[], ["--tensor_parallel_size=3"]], ids=["one_rank", "three_ranks"])
def test_a_killed_worker_comes_back_and_its_stream_goes_on(start_server, flags):
    server = start_server(*flags)
    whole = server.complete(**STORY)["choices"][0]["text"]
    before = server.pids_of("quartet-worker")

    def kill_the_last_rank(events):
        if events == 20:
            os.kill(max(before), signal.SIGKILL)

    assert read_stream(server, STORY, kill_the_last_rank) == whole
    after = server.pids_of("quartet-worker")
    assert len(after) == len(before) and set(before) - set(after) == {max(before)}, "only the killed one was started again"
    assert "was killed by signal 9 (Killed)" in server.log()
    assert server.stop() == 0


@pytest.mark.parametrize("service", ["quartet-tokenizer", "quartet-gateway"])
def test_other_killed_services_come_back_on_the_same_ports(fresh, service):
    (pid,) = fresh.pids_of(service)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: fresh.pids_of(service) not in ([], [pid]), 30, f"{service} is started again")

    def answers():
        try:
            return fresh.post("/v1/completions", {"prompt": "Hello", "max_tokens": 2}, timeout=20).status_code == 200
        except requests.exceptions.RequestException:
            return False

    wait_until(answers, 60, "requests are answered again")
    assert fresh.stop() == 0


def test_sigterm_stops_gateway_then_workers_then_tokenizer(fresh):
    folder = runtime_folder(fresh)
    assert folder.is_dir()
    assert fresh.stop() == 0
    stops = [line.split("stopping ")[1] for line in fresh.log().splitlines() if " I serve stopping " in line]
    assert stops == ["gateway", "workers", "tokenizer"]
    assert not folder.exists()


def test_a_running_stream_is_finished_before_the_gateway_stops(fresh):
    whole = fresh.complete(**STORY)["choices"][0]["text"]

    def terminate(events):
        if events == 10:
            fresh.process.send_signal(signal.SIGTERM)

    assert read_stream(fresh, STORY, terminate) == whole
    assert fresh.stop() == 0


def test_ctrl_c_stops_all(fresh):
    # A terminal sends SIGINT to the whole foreground process group.
    os.killpg(fresh.process.pid, signal.SIGINT)
    assert fresh.process.wait(60) == 0
    assert not fresh.processes()


def test_children_die_with_a_killed_serve(fresh):
    session = fresh.process.pid
    assert len(fresh.processes()) == 4
    fresh.process.kill()
    fresh.process.wait()
    wait_until(lambda: not processes_of_session(session), 30, "no child is left")


def test_no_shared_memory_is_left(start_server):
    segments = lambda: set(os.listdir("/dev/shm"))
    before = segments()
    server = start_server("--tensor_parallel_size=3")
    assert server.text("Hello", max_tokens=2)
    assert server.stop() == 0
    assert segments() <= before


def test_a_second_server_on_the_same_port_ends_with_the_reason(server):
    ports = [f"--http_port={server.http_port}", "--grpc_port=0"]
    result = subprocess.run([binary("quartet"), "serve", f"--model={MODEL}", *ports], capture_output=True, text=True, timeout=120)
    assert result.returncode != 0
    assert str(server.http_port) in result.stderr.strip().splitlines()[-1]


def test_idle_costs_next_to_nothing(fresh):
    def cpu_seconds():
        ticks = 0
        for pid in fresh.processes():
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    # What a start leaves behind (first use of lazily made things) is over after a second.
    threading.Event().wait(1)
    start = cpu_seconds()
    threading.Event().wait(5)
    assert cpu_seconds() - start < 0.05 * 5, "more than 5% of a core while idle"
    assert fresh.stop() == 0
