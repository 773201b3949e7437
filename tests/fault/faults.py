"""What tests that break a running cluster share: who is who, what the log says, and streams that watch themselves."""

import os
import pathlib
import re
import signal
import threading

from cluster import sse_events, wait_until


def worker_pids(server, group=0):
    """Process ids of a worker group's ranks, in order of rank; None for one that does not run now."""
    socket = "worker.sock" if group == 0 else f"worker-{group}.sock"
    pids = {}
    for pid, command in server.processes().items():
        if not command or not command[0].endswith("/quartet-worker"):
            continue
        flags = dict(flag.lstrip("-").partition("=")[::2] for flag in command[1:])
        if (flags.get("address") or flags.get("leader_address")).endswith("/" + socket):
            pids[int(flags["rank"])] = pid
    world_size = int(re.search(r"tensor_parallel_size=(\d+)", server.log())[1])
    return [pids.get(rank) for rank in range(world_size)]


def epochs(server):
    """Epochs of the groups that have served, in the order of the log."""
    return [int(epoch) for epoch in re.findall(r"worker group serves .*?epoch=(\d+)", server.log())]


def num_loads(server, rank):
    """How often processes of this rank have opened the model."""
    return len(re.findall(rf" worker-{rank} model opened", server.log()))


def recoveries(server):
    """The leader's account of each recovery, by phase, in milliseconds."""
    lines = re.findall(r"group recovered (.*)", server.log())
    return [{key: float(value) for key, value in re.findall(r"(\w+)=([\d.e+-]+)(?= |$)", line)} for line in lines]


def num_fds(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def zombies_of(parent):
    """Children of `parent` that have ended and that it has not reaped."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] == "Z" and int(fields[1]) == parent:
                found.append(int(entry.name))
    return found


def kill(*pids):
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def stop(pid):
    """Stops a process as a hang would; it does not know."""
    os.kill(pid, signal.SIGSTOP)


def resume(pid):
    os.kill(pid, signal.SIGCONT)


class LiveStream:
    """A streamed completion that is read in a thread of its own. Never raises there: `error` says what went wrong."""

    def __init__(self, server, body):
        self.text, self.num_events, self.done, self.error = "", 0, False, None
        self._server, self._body = server, body
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            with self._server.post("/v1/completions", {**self._body, "stream": True}, stream=True) as response:
                assert response.status_code == 200, response.text
                for event in sse_events(response):
                    if event == "[DONE]":
                        self.done = True
                        continue
                    assert "error" not in event, event
                    self.text += event["choices"][0]["text"]
                    self.num_events += 1
        except Exception as error:  # noqa: BLE001
            self.error = error

    def is_running(self):
        return self._thread.is_alive()

    def wait_events(self, count, timeout_s=60):
        wait_until(lambda: self.num_events >= count or not self.is_running(), timeout_s, f"{count} events of a stream")
        assert self.num_events >= count, f"ended after {self.num_events} events: {self.error}"

    def whole_text(self, timeout_s=120):
        """Waits for the end, which must be a good one."""
        self._thread.join(timeout_s)
        assert not self.is_running(), f"{self.num_events} events after {timeout_s} s"
        assert self.error is None and self.done, f"after {self.num_events} events: {self.error}"
        return self.text
