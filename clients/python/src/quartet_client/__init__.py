"""Python client of Quartet: QwenClient(model="qwen2.5-7b").generate("Once upon a time").text

quartet.v1, installed beside it, has the protocol's own modules for those who want to speak gRPC themselves.
"""

from ._version import VERSION as __version__
from .async_client import AsyncQwenClient, AsyncStream
from .client import QwenClient, Stream
from .context import ModelInfo
from .errors import (ContextTooLong, InvalidRequest, ModelNotFound, QuartetError, RequestTimeout, ServerBusy, ServerError,
                     ServerUnavailable, Unsupported)
from .results import Choice, Delta, Result, TokenLogprob, TopLogprob, Usage

__all__ = ["AsyncQwenClient", "AsyncStream", "Choice", "ContextTooLong", "Delta", "InvalidRequest", "ModelInfo", "ModelNotFound",
           "QuartetError", "QwenClient", "RequestTimeout", "Result", "ServerBusy", "ServerError", "ServerUnavailable", "Stream",
           "TokenLogprob", "TopLogprob", "Unsupported", "Usage", "__version__"]
