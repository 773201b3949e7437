"""A cluster of the real binaries for benchmarks: starts it, loads it with `quartet bench`, reads its processes and metrics."""

import contextlib
import json
import os
import pathlib
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import protocol_stubs  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("QUARTET_BUILD_DIR", ROOT / "build" / "release"))
TICKS = os.sysconf("SC_CLK_TCK")
START_TIMEOUT_S = 300


def wait_until(condition, timeout_s, what):
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s} s: {what}")
        time.sleep(0.05)


def machine():
    """What the numbers were got on, and how busy it was with other things."""
    model = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return {
        "cpu": model.group(1) if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "load_average_before": os.getloadavg()[0],
    }


def seven_b(folder):
    """A directory of Qwen2.5-7B's shape without weights."""
    subprocess.run([sys.executable, ROOT / "deploy/sim_profiles/make_model", folder], check=True, stdout=subprocess.DEVNULL)
    return folder


def busy_seconds_of_machine():
    """CPU seconds that all processes together have used."""
    fields = [int(x) for x in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS


class Process:
    def __init__(self, pid, role):
        self.pid, self.role = pid, role

    def _read(self, name):
        return pathlib.Path(f"/proc/{self.pid}/{name}").read_text()

    def cpu_seconds(self):
        fields = self._read("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def status(self, key):
        """A number of /proc/PID/status; kilobytes where it has that unit."""
        return int(re.search(rf"^{key}:\s*(\d+)", self._read("status"), re.M).group(1))

    def rss_kb(self):
        return self.status("VmRSS")

    def threads(self):
        return self.status("Threads")


class Cluster:
    """`quartet serve` with its children. Ends with the `with` block."""

    def __init__(self, model, *flags):
        self.command = [str(BUILD / "bin" / "quartet"), "serve", f"--model={model}", "--http_port=0", "--grpc_port=0", "--log_level=warning", *flags]
        self.log = tempfile.TemporaryFile()
        self.server = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log, text=True, start_new_session=True)
        self.http_port = self.grpc_port = None
        too_long = threading.Timer(START_TIMEOUT_S, self.server.kill)  # which ends the reading below
        too_long.start()
        for line in self.server.stdout:
            if line.startswith("gRPC is served on port "):
                self.grpc_port = int(line.split()[-1])
            if line.startswith("Inference server is ready on port "):
                self.http_port = int(line.split()[-1])
                break
        too_long.cancel()
        if self.http_port is None:
            self.server.wait()
            self.log.seek(0)
            raise RuntimeError(f"quartet serve ended with {self.server.returncode}:\n" + self.log.read().decode(errors="replace")[-3000:])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.send_signal(signal.SIGTERM)
        try:
            self.server.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.server.pid, signal.SIGKILL)
            self.server.wait()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.http_port}"

    def processes(self):
        """By role: gateway, tokenizer, leader, follower (a list each)."""
        roles = {"gateway": [], "tokenizer": [], "leader": [], "follower": []}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                session = int((entry / "stat").read_text().rpartition(")")[2].split()[3])
                command = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if session != self.server.pid:
                continue
            name = os.path.basename(command[0]).removeprefix("quartet-")
            if name == "worker":
                name = "leader" if "--rank=0" in command else "follower"
            if name in roles:
                roles[name].append(Process(int(entry.name), name))
        return roles

    def get(self, path, port=None):
        with urllib.request.urlopen(f"http://127.0.0.1:{port or self.http_port}{path}", timeout=30) as response:
            return response.read().decode()

    def metric(self, name):
        """Sum of a metric of the gateway over its labels."""
        values = [float(line.rsplit(" ", 1)[1]) for line in self.get("/metrics").splitlines() if re.match(rf"{name}[ {{]", line)]
        return sum(values)

    def worker_stub(self):
        """The leader's own service, by the socket that `quartet serve` gave it."""
        import grpc
        pb2, pb2_grpc = protocol_stubs.stubs("quartet.worker.v1.worker_pb2"), protocol_stubs.stubs("quartet.worker.v1.worker_pb2_grpc")
        leader = self.processes()["leader"][0]
        command = pathlib.Path(f"/proc/{leader.pid}/cmdline").read_text().split("\0")
        address = next(a.partition("=")[2] for a in command if a.startswith("--address="))
        return pb2_grpc.EngineStub(grpc.insecure_channel(address)), pb2

    def worker_load(self):
        stub, pb2 = self.worker_stub()
        return stub.GetLoad(pb2.GetLoadRequest(), timeout=30)

    def leader_histograms(self, names):
        """{name: {upper bound: cumulative count}} from the leader's metrics port; empty if it has none."""
        stub, pb2 = self.worker_stub()
        port = getattr(stub.GetInfo(pb2.GetInfoRequest(), timeout=30), "metrics_port", 0)
        if not port:
            return {}
        found = {}
        for line in self.get("/metrics", port).splitlines():
            match = re.match(r'(\w+)_bucket\{.*?le="([^"]+)".*\} (\S+)', line)
            if match and match.group(1) in names:
                buckets = found.setdefault(match.group(1), {})
                bound = float(match.group(2).replace("+Inf", "inf"))
                buckets[bound] = buckets.get(bound, 0) + float(match.group(3))
        return found


def histogram_quantile(before, after, q):
    """The quantile of what a histogram counted between two readings: linear inside a bucket, as Prometheus does."""
    counts = [(bound, after[bound] - before.get(bound, 0)) for bound in sorted(after)]
    total = counts[-1][1]
    if total == 0:
        return None
    lower, below = 0.0, 0.0
    for bound, count in counts:
        if count >= q * total:
            if bound == float("inf"):
                return lower
            return lower + (bound - lower) * ((q * total - below) / max(count - below, 1e-9))
        lower, below = bound, count
    return lower


@contextlib.contextmanager
def load(cluster, **flags):
    """`quartet bench` in the background, against the cluster's HTTP face. Yields its process; .report() and .trace() work after the block."""
    flags = {"num_requests": 1_000_000, "seed": 1} | flags
    out, trace = tempfile.NamedTemporaryFile(suffix=".json"), tempfile.NamedTemporaryFile(suffix=".jsonl")
    command = [str(BUILD / "bin" / "quartet"), "bench", f"--address={cluster.url}", f"--json={out.name}", f"--trace={trace.name}"]
    command += [f"--{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in flags.items()]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    process.command = command
    process.report = lambda: json.loads(pathlib.Path(out.name).read_text())
    process.trace = lambda: [json.loads(line) for line in open(trace.name)]
    try:
        yield process
        process.wait(600)
        if process.returncode != 0:
            raise RuntimeError(f"quartet bench: {process.stderr.read()[-1000:]}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))] if values else None


def gaps_between(requests, begin, end):
    """Milliseconds between neighbouring tokens of a request, for those that came in [begin, end) of the monotonic clock."""
    return [1000 * (b - a) for r in requests for a, b in zip(r["token_times_s"], r["token_times_s"][1:]) if begin <= b < end]


def median(values):
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None
