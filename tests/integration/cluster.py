"""Starts and ends the real binaries for the tests."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import threading
import time

import requests

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("QUARTET_BUILD_DIR", ROOT / "build" / "release"))
CACHE = pathlib.Path(os.environ.get("QUARTET_CACHE", pathlib.Path.home() / ".cache" / "quartet"))
MODEL = CACHE / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
# Other builds and tests may share the machine.
START_TIMEOUT_S = 180
STOP_TIMEOUT_S = 60


def binary(name):
    path = BUILD / "bin" / name
    assert path.exists(), f"{path} is not built: run tests/run, or ninja in {BUILD}"
    return str(path)


def processes_of_session(session):
    """Process ids and command names of all living processes of a session."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found[int(entry.name)] = [part.decode() for part in command if part]
    return found


def wait_until(condition, timeout_s, what):
    """Polls; there is no other way to see what happens in another process."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.02)


class Server:
    """One `quartet serve` with its children, in a session of its own."""

    def __init__(self, *flags, model=MODEL, log_path, ports=("--http_port=0", "--grpc_port=0")):
        if pathlib.Path(model) == MODEL:
            assert MODEL.exists(), f"{MODEL} is missing: run tests/run (or deploy/local/setup --tests), which fetches it"
        self.log_path = pathlib.Path(log_path)
        self.lines = []
        self.process = subprocess.Popen(
            [binary("quartet"), "serve", f"--model={model}", *ports, *flags],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=open(self.log_path, "wb"),
            start_new_session=True,
            text=True,
        )
        self.ready = threading.Event()
        self.http_port = self.grpc_port = None
        threading.Thread(target=self._read_output, daemon=True).start()

    def _read_output(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("gRPC is served on port "):
                self.grpc_port = int(line.split()[-1])
            if line.startswith("Inference server is ready on port "):
                self.http_port = int(line.split()[-1])
                self.ready.set()

    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_ready(self):
        wait_until(lambda: self.ready.is_set() or self.process.poll() is not None, START_TIMEOUT_S, "server is ready")
        assert self.ready.wait(1), f"quartet serve ended with {self.process.poll()}:\n{self.log()[-4000:]}"
        return self

    @property
    def url(self):
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def grpc_address(self):
        return f"127.0.0.1:{self.grpc_port}"

    def processes(self):
        return processes_of_session(self.process.pid)

    def pids_of(self, name):
        return [pid for pid, command in self.processes().items() if command and command[0].endswith("/" + name)]

    def stop(self):
        """SIGTERM; returns the exit code. Asserts that nothing is left."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(STOP_TIMEOUT_S)
        assert not self.processes(), f"left behind: {self.processes()}"
        return code

    def kill(self):
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait(STOP_TIMEOUT_S)

    def post(self, path, body, **options):
        options.setdefault("timeout", 180)
        return requests.post(self.url + path, json=body, **options)

    def complete(self, prompt, **parameters):
        """The whole answer of /v1/completions."""
        response = self.post("/v1/completions", {"prompt": prompt, **parameters})
        assert response.status_code == 200, response.text
        return response.json()

    def text(self, prompt, **parameters):
        return self.complete(prompt, **parameters)["choices"][0]["text"]

    def metric(self, name):
        """Sum of a metric over its labels."""
        total = None
        for line in requests.get(self.url + "/metrics", timeout=10).text.splitlines():
            if line.startswith((name + " ", name + "{")):
                total = (total or 0) + float(line.rsplit(" ", 1)[1])
        assert total is not None, f"/metrics has no {name}"
        return total


@contextlib.contextmanager
def server_starter(tmp_path_factory):
    """Yields start(*flags, **options), which gives a ready server; what still runs at the end is killed."""
    servers = []

    def start(*flags, **options):
        server = Server(*flags, log_path=tmp_path_factory.mktemp("serve") / "serve.log", **options)
        servers.append(server)
        return server.wait_ready()

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.kill()


def sse_events(response):
    """The data of each event of an SSE response: parsed JSON, or the string [DONE]."""
    assert response.headers["Content-Type"].startswith("text/event-stream"), response.headers
    for line in response.iter_lines():
        if line.startswith(b"data: "):
            data = line[len(b"data: "):].decode()
            yield data if data == "[DONE]" else json.loads(data)


def stream_text(server, prompt, **parameters):
    """The text of a streamed completion, its finish reason, and the usage if asked for."""
    text, reason, usage, done = "", None, None, False
    with server.post("/v1/completions", {"prompt": prompt, "stream": True, **parameters}, stream=True) as response:
        assert response.status_code == 200, response.text
        for event in sse_events(response):
            assert not done, "an event after [DONE]"
            if event == "[DONE]":
                done = True
                continue
            assert "error" not in event, event
            usage = event.get("usage") or usage
            for choice in event["choices"]:
                text += choice["text"]
                reason = choice["finish_reason"] or reason
    assert done, "the stream ended without [DONE]"
    return text, reason, usage
