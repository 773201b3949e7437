"""What a chaos run knows of the cluster at the moment of a kill: seen in /proc and told by the leader, never assumed."""

import collections
import os
import pathlib
import re
import time

import grpc

FUTEX = 202  # the number of the system call on x86-64


def state_of(pid: int) -> str:
    """The process's state letter (R, S, T, Z ...), or '' if it is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def runs(pid: int) -> bool:
    """Whether it is there and not stopped."""
    return state_of(pid) not in ("", "Z", "T")


def is_gone(pid: int) -> bool:
    return state_of(pid) in ("", "Z")


def files_of(pid: int) -> collections.Counter:
    """The process's open descriptors, counted by kind."""
    kinds = collections.Counter()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            kinds[re.sub(r":\[\d+\]|\d+", "", os.readlink(f"/proc/{pid}/fd/{fd}"))] += 1
        except OSError:
            pass  # closed meanwhile
    return kinds


def shared_ranges(pid: int) -> list[tuple[int, int]]:
    """Where the process has mapped memory that it shares with the other ranks of its group."""
    ranges = []
    for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
        if "/dev/shm/" in line:
            begin, _, end = line.split()[0].partition("-")
            ranges.append((int(begin, 16), int(end, 16)))
    return ranges


def waits_in_all_reduce(pid: int) -> bool:
    """Whether a thread of a *stopped* process was waiting for other ranks: it sleeps on a word of the shared memory. A stopped thread
    still shows the system call in which the signal found it."""
    try:
        ranges = shared_ranges(pid)
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            fields = (task / "syscall").read_text().split()
            if len(fields) > 1 and fields[0] == str(FUTEX):
                address = int(fields[1], 16)
                if any(begin <= address < end for begin, end in ranges):
                    return True
    except (OSError, ValueError):
        pass
    return False


def wait_stopped(pid: int, timeout_s: float = 1.0) -> bool:
    """Waits until every thread of the process has stopped after SIGSTOP; false if it ended."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            states = [(task / "stat").read_text().rpartition(")")[2].split()[0]
                      for task in pathlib.Path(f"/proc/{pid}/task").iterdir()]
        except OSError:
            return False
        if states and all(state == "T" for state in states):
            return True
        time.sleep(0.0002)
    return False


class Leader:
    """The leader's own account, over the socket that gateways use."""

    def __init__(self, address: str, stubs):
        self._pb = stubs("quartet.worker.v1.worker_pb2")
        # Comes back to a leader that was started again at once.
        options = [("grpc.min_reconnect_backoff_ms", 20), ("grpc.initial_reconnect_backoff_ms", 20), ("grpc.max_reconnect_backoff_ms", 50)]
        self._channel = grpc.insecure_channel(address, options)
        self._engine = stubs("quartet.worker.v1.worker_pb2_grpc").EngineStub(self._channel)

    def load(self):
        """GetLoad's answer, or None while there is no group that serves."""
        try:
            return self._engine.GetLoad(self._pb.GetLoadRequest(), timeout=0.25)
        except grpc.RpcError:
            return None

    def info(self):
        try:
            return self._engine.GetInfo(self._pb.GetInfoRequest(), timeout=0.25)
        except grpc.RpcError:
            return None


def leader_address(server) -> str:
    """Where rank 0 listens, from its command line."""
    for command in server.processes().values():
        line = " ".join(command)
        if command and command[0].endswith("/quartet-worker") and "--rank=0" in line:
            return re.search(r"--address=(\S+)", line).group(1)
    raise AssertionError(f"no leader among {server.processes()}")


def roles(server) -> dict[str, int]:
    """Process ids by role: serve, gateway, tokenizer, rank 0, rank 1, ..."""
    found = {}
    for pid, command in server.processes().items():
        name = pathlib.Path(command[0]).name if command else ""
        if name == "quartet-worker":
            rank = re.search(r"--rank=(\d+)", " ".join(command))
            found[f"rank {rank.group(1) if rank else 0}"] = pid
        elif name.startswith("quartet-"):
            found[name.removeprefix("quartet-")] = pid
        elif name == "quartet" and "serve" in command:
            found["serve"] = pid
    return found
