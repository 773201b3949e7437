"""What a request gives: results, deltas, and the collector that adds the events of one request up."""

import json
import re
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

from quartet.v1 import inference_pb2, sampling_pb2

# How Qwen2.5 and the models that follow it write a call.
_TOOL_CALL = re.compile(r"<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)
_REASONS = {
    sampling_pb2.FINISH_REASON_STOP: "stop",
    sampling_pb2.FINISH_REASON_LENGTH: "length",
    sampling_pb2.FINISH_REASON_ABORT: "abort",
}


@dataclass(frozen=True)
class TopLogprob:
    """A token that might have stood somewhere."""

    token_id: int
    logprob: float  # natural logarithm, of the raw logits
    rank: int  # 1 is the likeliest


@dataclass(frozen=True)
class TokenLogprob(TopLogprob):
    """The token that stands somewhere, and the likeliest ones there."""

    top: List[TopLogprob]


@dataclass(frozen=True)
class Usage:
    """Token counts of the whole request."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int  # of the prompt, found in the prefix cache

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Delta:
    """New output of one answer."""

    index: int  # which answer, from 0
    text: str
    token_ids: List[int]
    logprobs: List[TokenLogprob]

    def __str__(self) -> str:
        return self.text


@dataclass
class Choice:
    """One answer."""

    index: int
    text: str = ""
    # "stop": the model ended it, or a stop string or stop id did; "length": max_tokens or the context's end; "abort": it was
    # broken off; None: it has not ended.
    finish_reason: Optional[str] = None
    token_ids: List[int] = field(default_factory=list)
    logprobs: List[TokenLogprob] = field(default_factory=list)
    stop_string: Optional[str] = None  # the one that ended it

    def json(self) -> Any:
        """The text as JSON. ValueError names what is wrong; with finish_reason "length" the text was cut short."""
        try:
            return json.loads(self.text)
        except ValueError as error:
            cut = ": max_tokens cut it short, ask for more" if self.finish_reason == "length" else ""
            raise ValueError(f"the answer is no whole JSON text{cut} ({error})") from error

    @property
    def tool_calls(self) -> List[Dict[str, Any]]:
        """The calls in the text, each {"name": ..., "arguments": {...}}. What is between the tags and no JSON is left out."""
        calls = []
        for written in _TOOL_CALL.findall(self.text):
            try:
                calls.append(json.loads(written))
            except ValueError:
                continue
        return calls

    def __str__(self) -> str:
        return self.text


@dataclass
class Result:
    """The answers to one request. text, finish_reason, token_ids, logprobs, tool_calls and json() are the first one's."""

    request_id: str = ""
    model: str = ""
    seed: int = 0
    prompt_token_ids: List[int] = field(default_factory=list)
    # One entry for each prompt token after the first, if asked for.
    prompt_logprobs: List[TokenLogprob] = field(default_factory=list)
    choices: List[Choice] = field(default_factory=list)
    usage: Optional[Usage] = None  # None in what a failed request left

    @property
    def text(self) -> str:
        return self.choices[0].text

    @property
    def finish_reason(self) -> Optional[str]:
        return self.choices[0].finish_reason

    @property
    def token_ids(self) -> List[int]:
        return self.choices[0].token_ids

    @property
    def logprobs(self) -> List[TokenLogprob]:
        return self.choices[0].logprobs

    @property
    def tool_calls(self) -> List[Dict[str, Any]]:
        return self.choices[0].tool_calls

    def json(self) -> Any:
        return self.choices[0].json()

    def __str__(self) -> str:
        return self.text


def _top(token: Any) -> Dict[str, Any]:
    return {"token_id": token.token_id, "logprob": token.logprob, "rank": token.rank}


def _logprobs(positions: Any) -> List[TokenLogprob]:
    return [TokenLogprob(**_top(p.token), top=[TopLogprob(**_top(token)) for token in p.top]) for p in positions]


class Collector:
    """Adds events up. `result` is always what has come so far; `began` says whether output has."""

    def __init__(self, n: int):
        self.result = Result(choices=[Choice(index) for index in range(n)])
        self.began = False

    def add(self, event: inference_pb2.GenerateEvent) -> Optional[Delta]:
        """The delta if the event is one that has something new."""
        kind = event.WhichOneof("event")
        if kind == "started":
            started = event.started
            self.result.request_id, self.result.model, self.result.seed = started.request_id, started.model, started.seed
            self.result.prompt_token_ids = list(started.prompt_token_ids)
        elif kind == "delta":
            return self._add_delta(event.delta)
        elif kind == "finished":
            choice = self.result.choices[event.finished.index]
            choice.finish_reason = _REASONS.get(event.finished.reason)
            if event.finished.HasField("stop_string"):
                choice.stop_string = event.finished.stop_string
        elif kind == "usage":
            usage = event.usage
            self.result.usage = Usage(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
        return None

    def _add_delta(self, delta: inference_pb2.Delta) -> Optional[Delta]:
        self.began = True
        self.result.prompt_logprobs += _logprobs(delta.prompt_logprobs)
        new = Delta(delta.index, delta.text, list(delta.token_ids), _logprobs(delta.logprobs))
        choice = self.result.choices[delta.index]
        choice.text += new.text
        choice.token_ids += new.token_ids
        choice.logprobs += new.logprobs
        return new if new.text or new.token_ids else None
