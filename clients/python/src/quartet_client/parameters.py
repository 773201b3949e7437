"""The parameters that generate, stream, chat and stream_chat take by name. Unset ones take the server's defaults."""

from __future__ import annotations

import difflib
from typing import Any, Dict, List, Sequence, TypedDict, Union


class ResponseFormat(TypedDict, total=False):
    """OpenAI's: {"type": "json_object"}, {"type": "json_schema", "json_schema": {"schema": {...}}} or {"type": "text"}."""

    type: str
    json_schema: Dict[str, Any]


class Parameters(TypedDict, total=False):
    """What a prompt and a conversation both take. Ranges and defaults: proto/quartet/v1/{sampling,inference}.proto."""

    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    logit_bias: Dict[int, float]
    seed: int
    min_tokens: int
    ignore_eos: bool
    stop_token_ids: Sequence[int]
    allowed_token_ids: Sequence[int]
    logprobs: int  # alternatives for each generated token, 0 for the token alone
    prompt_logprobs: int
    stop: Union[str, Sequence[str]]
    n: int
    best_of: int
    echo: bool
    skip_special_tokens: bool
    include_stop_in_output: bool
    bad_words: Sequence[str]
    truncate_prompt_tokens: int
    # The shape of the answer: at most one of these.
    response_format: ResponseFormat
    regex: str
    choice: Sequence[str]
    grammar: str  # EBNF as GBNF writes it
    structural_tag: Union[str, Dict[str, Any]]
    # Who asks, and how urgently.
    priority: int
    cache_salt: str
    tenant: str
    request_id: str
    # Seconds for the whole request, in the place of the client's own.
    timeout: float


class PromptParameters(Parameters, total=False):
    suffix: str
    add_special_tokens: bool


class ChatParameters(Parameters, total=False):
    tools: List[Dict[str, Any]]
    add_generation_prompt: bool
    continue_final_message: bool
    chat_template_kwargs: Dict[str, Any]
    documents: List[Dict[str, Any]]
    chat_template: str


def check_names(parameters: Dict[str, Any], known: type) -> None:
    """TypeError for a name that is none, with the nearest one."""
    names = known.__annotations__
    for name in parameters:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"; do you mean {near[0]}?" if near else f"; known: {', '.join(sorted(names))}"
            raise TypeError(f"unknown parameter {name!r}{hint}")
