"""Turns what a caller writes into a GenerateRequest. Knows neither channel nor server."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, Sequence, Union

from quartet.v1 import chat_pb2, inference_pb2, structured_output_pb2

from .errors import InvalidRequest
from .parameters import ChatParameters, PromptParameters, check_names

Prompt = Union[str, Sequence[int]]
Messages = Union[str, Sequence[Mapping[str, Any]]]

_SAMPLING = ("max_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
             "logit_bias", "seed", "min_tokens", "ignore_eos", "stop_token_ids", "allowed_token_ids", "logprobs", "prompt_logprobs")
_REQUEST = ("n", "best_of", "echo", "skip_special_tokens", "include_stop_in_output", "bad_words", "truncate_prompt_tokens", "suffix",
            "add_special_tokens", "priority", "cache_salt", "tenant", "request_id")
_FORMATS = ("response_format", "regex", "choice", "grammar", "structural_tag")


def prompt_request(model: str, prompt: Prompt, parameters: Dict[str, Any]) -> inference_pb2.GenerateRequest:
    check_names(parameters, PromptParameters)
    request = _request(model, parameters)
    if isinstance(prompt, str):
        request.text = prompt
    else:
        _set("prompt", lambda: request.token_ids.ids.extend(prompt))
    return request


def chat_request(model: str, messages: Messages, parameters: Dict[str, Any]) -> inference_pb2.GenerateRequest:
    check_names(parameters, ChatParameters)
    request = _request(model, parameters)
    chat = request.chat
    turns = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
    chat.messages.extend(_message(turn, f"messages[{i}]") for i, turn in enumerate(turns))
    for name, field in (("tools", chat.tools_json), ("documents", chat.documents_json)):
        field.extend(_json(value, f"{name}[{i}]") for i, value in enumerate(parameters.get(name) or ()))
    for name in ("add_generation_prompt", "continue_final_message", "chat_template"):
        if parameters.get(name) is not None:
            _set(name, lambda: setattr(chat, name, parameters[name]))
    if parameters.get("continue_final_message") and parameters.get("add_generation_prompt") is None:
        chat.add_generation_prompt = False
    if parameters.get("chat_template_kwargs") is not None:
        chat.template_kwargs_json = _json(parameters["chat_template_kwargs"], "chat_template_kwargs")
    return request


def _request(model: str, parameters: Dict[str, Any]) -> inference_pb2.GenerateRequest:
    request = inference_pb2.GenerateRequest(model=model or "")
    for names, message in ((_SAMPLING, request.sampling), (_REQUEST, request)):
        for name in names:
            if parameters.get(name) is not None:
                _set_field(message, name, parameters[name])
    stop = parameters.get("stop")
    if stop is not None:
        _set("stop", lambda: request.stop.extend([stop] if isinstance(stop, str) else stop))
    _set_format(request, parameters)
    return request


def _set(field: str, assign: Any) -> None:
    """Protobuf's own complaint doesn't name the field."""
    try:
        assign()
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"{field}: {error}", field) from error


def _set_field(message: Any, name: str, value: Any) -> None:
    current = getattr(message, name)
    if isinstance(value, str) and not isinstance(current, str):
        raise InvalidRequest(f"{name} must not be a string, got {value!r}", name)
    if hasattr(current, "extend"):
        _set(name, lambda: current.extend(value))
    elif hasattr(current, "update"):
        _set(name, lambda: current.update({int(key): float(bias) for key, bias in value.items()}))
    else:
        _set(name, lambda: setattr(message, name, value))


def _set_format(request: inference_pb2.GenerateRequest, parameters: Dict[str, Any]) -> None:
    given = [name for name in _FORMATS if parameters.get(name) is not None]
    if len(given) > 1:
        raise InvalidRequest(f"{' and '.join(given)} are both given: an answer has one shape", given[1])
    if not given:
        return
    name, value = given[0], parameters[given[0]]
    output = request.structured_output
    if name == "response_format":
        _set_response_format(request, value)
    elif name == "regex":
        _set(name, lambda: setattr(output, "regex", value))
    elif name == "grammar":
        _set(name, lambda: setattr(output, "ebnf_grammar", value))
    elif name == "structural_tag":
        output.structural_tag = value if isinstance(value, str) else _json(value, name)
    elif isinstance(value, str) or not value:
        raise InvalidRequest(f"choice must be a list of at least one text, got {value!r}", name)
    else:
        _set(name, lambda: output.choice.CopyFrom(structured_output_pb2.TextChoice(texts=value)))


def _set_response_format(request: inference_pb2.GenerateRequest, value: Any) -> None:
    kind = value.get("type") if isinstance(value, Mapping) else None
    if kind == "text":
        return
    if kind == "json_object":
        request.structured_output.json_object.SetInParent()
        return
    wrapper = value.get("json_schema") if kind == "json_schema" else None
    schema = wrapper.get("schema") if isinstance(wrapper, Mapping) else None
    if not isinstance(schema, (Mapping, bool)):
        raise InvalidRequest('response_format must be {"type": "json_object"}, {"type": "json_schema", "json_schema": {"schema": {...}}} '
                             f'or {{"type": "text"}}, got {value!r}', "response_format")
    request.structured_output.json_schema = _json(schema, "response_format.json_schema.schema")


def _json(value: Any, field: str) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"{field} can't be written as JSON: {error}", field) from error


def _content(content: Any, field: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    texts: List[str] = []
    for part in content if isinstance(content, Sequence) else [content]:
        if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise InvalidRequest(f'{field} must be a text or a list of {{"type": "text", "text": ...}}, got {part!r}', field)
        texts.append(part["text"])
    return "".join(texts)


def _message(turn: Any, field: str) -> chat_pb2.ChatMessage:
    if not isinstance(turn, Mapping) or not isinstance(turn.get("role"), str):
        raise InvalidRequest(f'{field} must be like {{"role": "user", "content": "Hello"}}, got {turn!r}', field)
    message = chat_pb2.ChatMessage(role=turn["role"], content=_content(turn.get("content"), f"{field}.content"))
    _set(f"{field}.name", lambda: setattr(message, "name", turn.get("name") or ""))
    _set(f"{field}.tool_call_id", lambda: setattr(message, "tool_call_id", turn.get("tool_call_id") or ""))
    for i, call in enumerate(turn.get("tool_calls") or ()):
        at = f"{field}.tool_calls[{i}]"
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise InvalidRequest(f'{at} must be like {{"id": "1", "function": {{"name": "f", "arguments": "{{}}"}}}}, got {call!r}', at)
        arguments = function.get("arguments", "{}")
        message.tool_calls.add(id=call.get("id") or "", name=function["name"],
                               arguments_json=arguments if isinstance(arguments, str) else _json(arguments, f"{at}.function.arguments"))
    return message
