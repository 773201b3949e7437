"""Whether a request fits the context: found out before it is sent, without asking the server where that can't be in doubt."""

from dataclasses import dataclass
from typing import Optional

from quartet.v1 import control_pb2, inference_pb2

from .errors import ContextTooLong, InvalidRequest

# Bounds on what tokenizer and chat template add to the texts.
_PREFIX_TOKENS = 16
_TOKENS_PER_MESSAGE = 64
_TEMPLATE_TOKENS = 2048


@dataclass(frozen=True)
class ModelInfo:
    """The served model."""

    name: str
    architecture: str
    max_model_len: int  # longest prompt plus output, tokens
    vocab_size: int
    num_parameters: int
    has_chat_template: bool


def model_info(answer: control_pb2.GetModelInfoResponse) -> ModelInfo:
    return ModelInfo(answer.name, answer.architecture, answer.max_model_len, answer.vocab_size, answer.num_parameters,
                     answer.has_chat_template)


def limit_of(info: ModelInfo, context_length: Optional[int], address: str) -> int:
    """Tokens that prompt and output may have together."""
    if context_length is None:
        return info.max_model_len
    if context_length > info.max_model_len:
        raise InvalidRequest(
            f"context_length={context_length}, but {address} serves {info.name} with a context of {info.max_model_len} tokens: start the "
            f"server with --max_model_len={context_length} (and --rope_scaling, if the model needs it to reach so far), or pass "
            f"context_length={info.max_model_len} or none", "context_length")
    return context_length


def most_prompt_tokens(request: inference_pb2.GenerateRequest) -> int:
    """A bound, from sizes alone: a token stands for at least one byte."""
    kind = request.WhichOneof("prompt")
    if kind == "token_ids":
        most = len(request.token_ids.ids)
    elif kind == "text":
        most = len(request.text.encode()) + len(request.suffix.encode()) + _PREFIX_TOKENS
    else:
        most = request.chat.ByteSize() + _TOKENS_PER_MESSAGE * len(request.chat.messages) + _TEMPLATE_TOKENS
    return _truncated(most, request)


def counting_request(request: inference_pb2.GenerateRequest):
    """What to ask Control for the number of prompt tokens: a message for Tokenize or for ApplyChatTemplate; None if it is known."""
    kind = request.WhichOneof("prompt")
    if kind == "text" and not request.suffix:
        question = control_pb2.TokenizeRequest(text=request.text)
        if request.HasField("add_special_tokens"):
            question.add_special_tokens = request.add_special_tokens
        return question
    return control_pb2.ApplyChatTemplateRequest(chat=request.chat) if kind == "chat" else None


def check_fits(request: inference_pb2.GenerateRequest, prompt_tokens: int, limit: int) -> None:
    prompt_tokens = _truncated(prompt_tokens, request)
    max_tokens = request.sampling.max_tokens or 1
    if prompt_tokens + max_tokens > limit:
        raise ContextTooLong(f"the prompt has {prompt_tokens} tokens and max_tokens is {max_tokens}: together {prompt_tokens + max_tokens}, "
                             f"but the context has {limit}. Shorten the prompt or lower max_tokens", prompt_tokens, max_tokens, limit)


def _truncated(tokens: int, request: inference_pb2.GenerateRequest) -> int:
    return min(tokens, request.truncate_prompt_tokens) if request.HasField("truncate_prompt_tokens") else tokens
