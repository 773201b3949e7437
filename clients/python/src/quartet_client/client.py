"""The client for code that waits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Optional

import grpc
from quartet.v1 import control_pb2, control_pb2_grpc, inference_pb2, inference_pb2_grpc

from . import connection, context
from .errors import QuartetError, ServerError, from_rpc
from .request import Messages, Prompt, chat_request, prompt_request
from .results import Collector, Delta, Result
from .retry import Backoff, Deadline

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .parameters import ChatParameters, PromptParameters


class QwenClient:
    """Generates text on a Quartet server. Any number of threads may use one client; it connects when first used.

    model           one of the names that the server serves; None takes what it serves.
    context_length  tokens that prompt and output may have together; None takes the server's own. More than the server serves is refused.
    address         HOST:PORT of the server's gRPC API; by default the environment's QUARTET_ADDRESS, else localhost:50051.
    timeout         seconds for a whole request, attempts included; None waits without end.
    max_retries     further attempts when the server is full or can't be reached; never once output has come.
    api_key         sent as "authorization: Bearer ...".
    credentials     grpc.ssl_channel_credentials() for a server behind TLS; None is plain text.
    """

    def __init__(self, model: Optional[str] = None, context_length: Optional[int] = None, address: Optional[str] = None, *,
                 timeout: Optional[float] = connection.DEFAULT_TIMEOUT_S, max_retries: int = connection.DEFAULT_MAX_RETRIES,
                 api_key: Optional[str] = None, credentials: Optional[grpc.ChannelCredentials] = None):
        self._settings = connection.settings(model, context_length, address, timeout, max_retries, api_key, credentials)
        where, options = self._settings.address, connection.CHANNEL_OPTIONS
        self._channel = (grpc.insecure_channel(where, options) if credentials is None
                         else grpc.secure_channel(where, credentials, options))
        self._inference = inference_pb2_grpc.InferenceStub(self._channel)
        self._control = control_pb2_grpc.ControlStub(self._channel)
        self._info: Optional[context.ModelInfo] = None

    def generate(self, prompt: Prompt, **parameters: Unpack[PromptParameters]) -> Result:
        """Continues a text, or token ids, and waits for the end."""
        return self.stream(prompt, **parameters).result()

    def stream(self, prompt: Prompt, **parameters: Unpack[PromptParameters]) -> Stream:
        """The same, piece by piece: an iterator of deltas. Closing or dropping it ends the request on the server."""
        return self._stream(prompt_request(self._settings.model, prompt, dict(parameters)), dict(parameters))

    def chat(self, messages: Messages, **parameters: Unpack[ChatParameters]) -> Result:
        """Answers a conversation: a list like [{"role": "user", "content": "Hello"}], or the text of a single user message."""
        return self.stream_chat(messages, **parameters).result()

    def stream_chat(self, messages: Messages, **parameters: Unpack[ChatParameters]) -> Stream:
        """The same, piece by piece."""
        return self._stream(chat_request(self._settings.model, messages, dict(parameters)), dict(parameters))

    def tokenize(self, text: str, add_special_tokens: bool = True) -> List[int]:
        request = control_pb2.TokenizeRequest(text=text, add_special_tokens=add_special_tokens)
        return list(self._ask(self._control.Tokenize, request, self._deadline()).ids)

    def detokenize(self, token_ids: List[int], skip_special_tokens: bool = False) -> str:
        request = control_pb2.DetokenizeRequest(ids=token_ids, skip_special_tokens=skip_special_tokens)
        return self._ask(self._control.Detokenize, request, self._deadline()).text

    def model_info(self) -> context.ModelInfo:
        """What the server serves. Asked for once."""
        return self._model_info(self._deadline())

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> QwenClient:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _deadline(self, timeout: Optional[float] = None) -> Deadline:
        return Deadline(self._settings.timeout if timeout is None else timeout)

    def _model_info(self, deadline: Deadline) -> context.ModelInfo:
        if self._info is None:
            self._info = context.model_info(self._ask(self._control.GetModelInfo, control_pb2.GetModelInfoRequest(), deadline))
        return self._info

    def _ask(self, method: Callable[..., Any], request: Any, deadline: Deadline) -> Any:
        """One answer, with retries."""
        backoff = Backoff(self._settings.max_retries, deadline)
        while True:
            try:
                return method(request, timeout=deadline.remaining(), metadata=self._settings.metadata)
            except grpc.RpcError as error:
                delay = backoff.delay(error)
                if delay is None:
                    raise from_rpc(error, self._settings.address, deadline.timeout) from error
                time.sleep(delay)

    def _stream(self, request: inference_pb2.GenerateRequest, parameters: Dict[str, Any]) -> Stream:
        deadline = self._deadline(parameters.get("timeout"))
        self._check_context(request, deadline)
        settings = self._settings

        def call() -> Iterator[inference_pb2.GenerateEvent]:
            return self._inference.Generate(request, timeout=deadline.remaining(), metadata=settings.metadata)

        return Stream(call, Collector(request.n or 1), Backoff(settings.max_retries, deadline),
                      lambda error: from_rpc(error, settings.address, deadline.timeout))

    def _check_context(self, request: inference_pb2.GenerateRequest, deadline: Deadline) -> None:
        limit = context.limit_of(self._model_info(deadline), self._settings.context_length, self._settings.address)
        tokens = context.most_prompt_tokens(request)
        if tokens + (request.sampling.max_tokens or 1) <= limit:
            return
        question = context.counting_request(request)
        if question is not None:
            method = self._control.Tokenize if isinstance(question, control_pb2.TokenizeRequest) else self._control.ApplyChatTemplate
            tokens = len(self._ask(method, question, deadline).ids)
        elif request.suffix:
            return  # only the server knows how the model writes a gap
        context.check_fits(request, tokens, limit)


class Stream:
    """The deltas of one request, as they come. For one thread at a time, but close() may come from any."""

    def __init__(self, call: Callable[[], Any], collector: Collector, backoff: Backoff, as_exception: Callable[[grpc.RpcError], QuartetError]):
        self._start = call
        self._collector = collector
        self._backoff = backoff
        self._as_exception = as_exception
        self._closed = False
        self._call = call()

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Delta:
        while not self._closed:
            event = self._next_event()
            if event is None:
                break
            delta = self._collector.add(event)
            if delta is not None:
                return delta
        raise StopIteration

    @property
    def result_so_far(self) -> Result:
        """What has come until now."""
        return self._collector.result

    def result(self) -> Result:
        """Reads what is left and gives all of it. After close(): what had come until then."""
        for _ in self:
            pass
        return self._collector.result

    def close(self) -> None:
        """Ends the request on the server too."""
        self._closed = True
        self._call.cancel()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_call"):
            self._call.cancel()

    def _next_event(self) -> Optional[inference_pb2.GenerateEvent]:
        """None at the end."""
        while True:
            try:
                return next(self._call)
            except StopIteration:
                if self._collector.result.usage is None:
                    raise self._failure(ServerError("the stream ended without saying why", "OK")) from None
                return None
            except grpc.RpcError as error:
                if self._closed:
                    return None
                delay = None if self._collector.began else self._backoff.delay(error)
                if delay is None:
                    raise self._failure(self._as_exception(error)) from error
                time.sleep(delay)
                self._call = self._start()

    def _failure(self, error: QuartetError) -> QuartetError:
        error.partial = self._collector.result if self._collector.began else None
        return error
