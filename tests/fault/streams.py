"""Clients of a chaos run: a stream a thread, half of them over gRPC and half over HTTP, with the time of everything they got."""

import dataclasses
import json
import random
import threading
import time

import grpc
import requests

WORDS = ("time", "people", "river", "light", "number", "garden", "letter", "winter", "paper", "question", "mountain", "and", "of", "the",
         "a", "with", "never", "always", "blue", "old", "天气", "世界", "学习", "Straße", "naïve", "мир", "данные", "🎉")


@dataclasses.dataclass
class Request:
    """What one stream asks for. `sampling` has the names that both faces share."""
    prompt: str
    sampling: dict
    over_grpc: bool


def make_requests(count: int, max_tokens: int, long_words: int, seed: int) -> list[Request]:
    """Prompts of a few words, every fourth of about `long_words`; sampled, some with penalties or a narrow choice."""
    rng = random.Random(seed)
    made = []
    for i in range(count):
        words = long_words if i % 4 == 3 else rng.randint(4, 24)
        sampling = {"max_tokens": max_tokens, "ignore_eos": True, "seed": rng.randrange(1 << 31), "temperature": rng.choice((0.7, 1.0, 1.2))}
        sampling |= rng.choice(({}, {"top_p": 0.9}, {"top_k": 40}, {"min_p": 0.05}, {"repetition_penalty": 1.1},
                                {"presence_penalty": 0.5, "frequency_penalty": 0.2}))
        made.append(Request(f"{i}: " + " ".join(rng.choices(WORDS, k=words)), sampling, over_grpc=i % 2 == 0))
    return made


class Stream(threading.Thread):
    """Sends one request and reads it to its end."""

    def __init__(self, request: Request, server, stubs):
        super().__init__(daemon=True)
        self.request = request
        self._server = server
        self._stubs = stubs
        self.text = ""
        self.ids = []          # gRPC only: HTTP doesn't carry them
        self.arrivals = []     # when each piece of output came, time.monotonic()
        self.sequence_numbers = []
        self.completion_tokens = None
        self.finish_reason = None
        self.done = False      # the protocol's own end was seen: usage over gRPC, [DONE] over HTTP
        self.error = None

    def run(self):
        try:
            if self.request.over_grpc:
                self._run_grpc()
            else:
                self._run_http()
        except Exception as error:  # whatever it is, it is the stream's end and goes into the report
            self.error = f"{type(error).__name__}: {error}"

    @property
    def has_output(self) -> bool:
        return bool(self.arrivals)

    @property
    def unfinished(self) -> bool:
        return not self.done and self.error is None

    def _add(self, text):
        self.text += text
        self.arrivals.append(time.monotonic())

    def _run_grpc(self):
        pb = self._stubs("quartet.v1.inference_pb2")
        sampling = self._stubs("quartet.v1.sampling_pb2").SamplingParams(**self.request.sampling)
        with grpc.insecure_channel(self._server.grpc_address) as channel:
            stub = self._stubs("quartet.v1.inference_pb2_grpc").InferenceStub(channel)
            for event in stub.Generate(pb.GenerateRequest(text=self.request.prompt, sampling=sampling)):
                self.sequence_numbers.append(event.sequence_number)
                kind = event.WhichOneof("event")
                if kind == "delta":
                    self.ids += event.delta.token_ids
                    self._add(event.delta.text)
                elif kind == "finished":
                    self.finish_reason = self._stubs("quartet.v1.sampling_pb2").FinishReason.Name(event.finished.reason)[14:].lower()
                elif kind == "usage":
                    self.completion_tokens = event.usage.completion_tokens
                    self.done = True
                elif kind == "error":
                    self.error = event.error.message

    def _run_http(self):
        body = {"prompt": self.request.prompt, "stream": True, "stream_options": {"include_usage": True}, **self.request.sampling}
        with requests.post(self._server.url + "/v1/completions", json=body, stream=True, timeout=(60, 300)) as response:
            if response.status_code != 200:
                self.error = f"{response.status_code}: {response.text[:300]}"
                return
            for line in response.iter_lines(chunk_size=1):
                if not line.startswith(b"data: "):
                    continue
                if line == b"data: [DONE]":
                    self.done = True
                    continue
                self._take(json.loads(line[len(b"data: "):]))
        if not self.done and self.error is None:
            self.error = "the connection ended without [DONE]"

    def _take(self, event):
        if "error" in event:
            self.error = event["error"]["message"]
            return
        if event.get("usage"):
            self.completion_tokens = event["usage"]["completion_tokens"]
        for choice in event["choices"]:
            self.finish_reason = choice["finish_reason"] or self.finish_reason
            if choice["text"]:
                self._add(choice["text"])


def start_all(requests_: list[Request], server, stubs) -> list[Stream]:
    streams = [Stream(request, server, stubs) for request in requests_]
    for stream in streams:
        stream.start()
    return streams


def join_all(streams: list[Stream], timeout_s: float):
    deadline = time.monotonic() + timeout_s
    for stream in streams:
        stream.join(max(0, deadline - time.monotonic()))
        if stream.is_alive():
            stream.error = stream.error or f"not finished within {timeout_s:.0f} s"
