"""What can go wrong, as exceptions, and how a gRPC error becomes one of them."""

from typing import Any, Optional, Tuple

import grpc


class QuartetError(Exception):
    """Base of all errors of this package.

    partial: what had been generated before a request that had begun failed (a Result), else None.
    """

    partial: Optional[Any] = None


class InvalidRequest(QuartetError):
    """The request can't be served as it is. field: the request's field that is at fault, as far as known."""

    def __init__(self, message: str, field: Optional[str] = None):
        super().__init__(message)
        self.field = field


class ContextTooLong(InvalidRequest):
    """Prompt and output together exceed the context. The numbers are None where only the server knows them."""

    def __init__(self, message: str, prompt_tokens: Optional[int] = None, max_tokens: Optional[int] = None,
                 context_length: Optional[int] = None):
        super().__init__(message, "prompt")
        self.prompt_tokens = prompt_tokens
        self.max_tokens = max_tokens
        self.context_length = context_length


class ModelNotFound(InvalidRequest):
    """The server serves no model of that name."""

    def __init__(self, message: str):
        super().__init__(message, "model")


class Unsupported(InvalidRequest):
    """This server was built without what the request asks for."""


class ServerBusy(QuartetError):
    """All places are taken. retry_after: seconds after which the server suggests to try again."""

    def __init__(self, message: str, retry_after: float):
        super().__init__(message)
        self.retry_after = retry_after


class ServerUnavailable(QuartetError):
    """Nobody answers at the address, or no worker serves."""


class RequestTimeout(QuartetError):
    """The request's timeout was over before it ended."""


class ServerError(QuartetError):
    """The server failed. code: the gRPC status code's name."""

    def __init__(self, message: str, code: str):
        super().__init__(message)
        self.code = code


DEFAULT_RETRY_AFTER_S = 1.0


def _fields(data: bytes):
    """Number and value of each field of a protobuf message: integers and bytes."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        elif key & 7 == 2:
            size = varint()
            yield key >> 3, data[at:at + size]
            at += size
        else:
            return


def _first(data: bytes, number: int, default):
    return next((value for key, value in _fields(data) if key == number), default)


def _detail(error: grpc.RpcError, message: str) -> Optional[bytes]:
    """The google.rpc message of that name in the error's details; None without one.

    Read by hand, so that the package needs no googleapis-common-protos for two of them.
    """
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        try:
            for number, any_message in _fields(value):
                if number == 3 and _first(any_message, 1, b"").endswith(b"/google.rpc." + message.encode()):
                    return _first(any_message, 2, b"")
        except IndexError:  # cut short: as good as none
            return None
    return None


def retry_delay(error: grpc.RpcError) -> Optional[float]:
    """Seconds of the google.rpc.RetryInfo that the error carries; None without one."""
    info = _detail(error, "RetryInfo")
    if info is None:
        return None
    duration = _first(info, 1, b"")
    return _first(duration, 1, 0) + _first(duration, 2, 0) / 1e9


def _violation(error: grpc.RpcError) -> Tuple[Optional[str], str]:
    """Field and reason of the google.rpc.BadRequest that the error carries."""
    violation = _first(_detail(error, "BadRequest") or b"", 1, b"")
    return _first(violation, 1, b"").decode() or None, _first(violation, 3, b"").decode()


def from_rpc(error: grpc.RpcError, address: str, timeout: Optional[float]) -> QuartetError:
    """The exception for an error of a call to `address`."""
    code, details = error.code(), error.details() or ""
    if code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.FAILED_PRECONDITION):
        field, reason = _violation(error)
        return ContextTooLong(details) if reason == "context_length_exceeded" else InvalidRequest(details, field)
    if code == grpc.StatusCode.NOT_FOUND:
        return ModelNotFound(details)
    if code == grpc.StatusCode.UNIMPLEMENTED:
        return Unsupported(details)
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
        delay = retry_delay(error)
        return ServerBusy(details, DEFAULT_RETRY_AFTER_S if delay is None else delay)
    if code == grpc.StatusCode.UNAVAILABLE:
        return ServerUnavailable(f"{address}: {details}. Is the server up, and is this its gRPC address (QUARTET_ADDRESS)?")
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return RequestTimeout(f"no end within timeout={timeout} s: {details}")
    return ServerError(f"{code.name}: {details}", code.name)
