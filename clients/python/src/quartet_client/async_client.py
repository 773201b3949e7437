"""The client for asyncio: AsyncQwenClient is QwenClient with `await` and `async for`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Awaitable, Callable, Dict, List, Optional

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


class AsyncQwenClient:
    """Generates text on a Quartet server; arguments as QwenClient's. Belongs to the event loop in which it is first used."""

    def __init__(self, model: Optional[str] = None, context_length: Optional[int] = None, address: Optional[str] = None, *,
                 timeout: Optional[float] = connection.DEFAULT_TIMEOUT_S, max_retries: int = connection.DEFAULT_MAX_RETRIES,
                 api_key: Optional[str] = None, credentials: Optional[grpc.ChannelCredentials] = None):
        self._settings = connection.settings(model, context_length, address, timeout, max_retries, api_key, credentials)
        self._channel: Optional[grpc.aio.Channel] = None
        self._info: Optional[context.ModelInfo] = None

    async def generate(self, prompt: Prompt, **parameters: Unpack[PromptParameters]) -> Result:
        """Continues a text, or token ids, and waits for the end."""
        return await self.stream(prompt, **parameters).result()

    def stream(self, prompt: Prompt, **parameters: Unpack[PromptParameters]) -> AsyncStream:
        """The same, piece by piece: an asynchronous iterator of deltas. Closing or dropping it ends the request on the server."""
        return AsyncStream(self, prompt_request(self._settings.model, prompt, dict(parameters)), dict(parameters))

    async def chat(self, messages: Messages, **parameters: Unpack[ChatParameters]) -> Result:
        """Answers a conversation: a list like [{"role": "user", "content": "Hello"}], or the text of a single user message."""
        return await self.stream_chat(messages, **parameters).result()

    def stream_chat(self, messages: Messages, **parameters: Unpack[ChatParameters]) -> AsyncStream:
        """The same, piece by piece."""
        return AsyncStream(self, chat_request(self._settings.model, messages, dict(parameters)), dict(parameters))

    async def tokenize(self, text: str, add_special_tokens: bool = True) -> List[int]:
        request = control_pb2.TokenizeRequest(text=text, add_special_tokens=add_special_tokens)
        return list((await self._ask("Tokenize", request, self._deadline())).ids)

    async def detokenize(self, token_ids: List[int], skip_special_tokens: bool = False) -> str:
        request = control_pb2.DetokenizeRequest(ids=token_ids, skip_special_tokens=skip_special_tokens)
        return (await self._ask("Detokenize", request, self._deadline())).text

    async def model_info(self) -> context.ModelInfo:
        """What the server serves. Asked for once."""
        return await self._model_info(self._deadline())

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> AsyncQwenClient:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

    def _deadline(self, timeout: Optional[float] = None) -> Deadline:
        return Deadline(self._settings.timeout if timeout is None else timeout)

    def _connected(self) -> grpc.aio.Channel:
        if self._channel is None:
            where, options, credentials = self._settings.address, connection.CHANNEL_OPTIONS, self._settings.credentials
            self._channel = (grpc.aio.insecure_channel(where, options) if credentials is None
                             else grpc.aio.secure_channel(where, credentials, options))
        return self._channel

    async def _model_info(self, deadline: Deadline) -> context.ModelInfo:
        if self._info is None:
            self._info = context.model_info(await self._ask("GetModelInfo", control_pb2.GetModelInfoRequest(), deadline))
        return self._info

    async def _ask(self, method: str, request: Any, deadline: Deadline) -> Any:
        """One answer of Control, with retries."""
        backoff = Backoff(self._settings.max_retries, deadline)
        call: Callable[..., Awaitable[Any]] = getattr(control_pb2_grpc.ControlStub(self._connected()), method)
        while True:
            try:
                return await call(request, timeout=deadline.remaining(), metadata=self._settings.metadata)
            except grpc.RpcError as error:
                delay = backoff.delay(error)
                if delay is None:
                    raise from_rpc(error, self._settings.address, deadline.timeout) from error
                await asyncio.sleep(delay)

    def _generate(self, request: inference_pb2.GenerateRequest, deadline: Deadline) -> Any:
        stub = inference_pb2_grpc.InferenceStub(self._connected())
        return stub.Generate(request, timeout=deadline.remaining(), metadata=self._settings.metadata)

    async def _check_context(self, request: inference_pb2.GenerateRequest, deadline: Deadline) -> None:
        limit = context.limit_of(await self._model_info(deadline), self._settings.context_length, self._settings.address)
        tokens = context.most_prompt_tokens(request)
        if tokens + (request.sampling.max_tokens or 1) <= limit:
            return
        question = context.counting_request(request)
        if question is not None:
            method = "Tokenize" if isinstance(question, control_pb2.TokenizeRequest) else "ApplyChatTemplate"
            tokens = len((await self._ask(method, question, deadline)).ids)
        elif request.suffix:
            return  # only the server knows how the model writes a gap
        context.check_fits(request, tokens, limit)


class AsyncStream:
    """The deltas of one request, as they come. The request is sent when the first one is asked for."""

    def __init__(self, client: AsyncQwenClient, request: inference_pb2.GenerateRequest, parameters: Dict[str, Any]):
        self._client = client
        self._request = request
        self._deadline = client._deadline(parameters.get("timeout"))
        self._backoff = Backoff(client._settings.max_retries, self._deadline)
        self._collector = Collector(request.n or 1)
        self._call: Any = None
        self._closed = False

    def __aiter__(self) -> AsyncStream:
        return self

    async def __anext__(self) -> Delta:
        while not self._closed:
            event = await self._next_event()
            if event is None:
                break
            delta = self._collector.add(event)
            if delta is not None:
                return delta
        raise StopAsyncIteration

    @property
    def result_so_far(self) -> Result:
        """What has come until now."""
        return self._collector.result

    async def result(self) -> Result:
        """Reads what is left and gives all of it. After close(): what had come until then."""
        async for _ in self:
            pass
        return self._collector.result

    async def close(self) -> None:
        """Ends the request on the server too."""
        self._closed = True
        if self._call is not None:
            self._call.cancel()

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

    def __del__(self) -> None:
        if getattr(self, "_call", None) is not None and not self._call.done():
            self._call.cancel()

    async def _next_event(self) -> Optional[inference_pb2.GenerateEvent]:
        """None at the end."""
        if self._call is None:
            await self._client._check_context(self._request, self._deadline)
            self._call = self._client._generate(self._request, self._deadline)
        while True:
            try:
                event = await self._call.read()
            except grpc.RpcError as error:
                delay = None if self._collector.began else self._backoff.delay(error)
                if delay is None:
                    raise self._failure(from_rpc(error, self._client._settings.address, self._deadline.timeout)) from error
                await asyncio.sleep(delay)
                self._call = self._client._generate(self._request, self._deadline)
                continue
            except asyncio.CancelledError:
                if self._closed:
                    return None
                raise
            if event is not grpc.aio.EOF:
                return event
            if self._collector.result.usage is None:
                raise self._failure(ServerError("the stream ended without saying why", "OK"))
            return None

    def _failure(self, error: QuartetError) -> QuartetError:
        error.partial = self._collector.result if self._collector.began else None
        return error
