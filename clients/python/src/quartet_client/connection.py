"""What both clients share: where the server is, and how a channel to it is made."""

import os
from dataclasses import dataclass
from typing import List, Optional, Tuple

import grpc

DEFAULT_ADDRESS = "localhost:50051"
DEFAULT_TIMEOUT_S = 600.0
DEFAULT_MAX_RETRIES = 4
# A long prompt with its log-probabilities is larger than gRPC's 4 MB.
CHANNEL_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@dataclass(frozen=True)
class Settings:
    model: str
    context_length: Optional[int]
    address: str
    timeout: Optional[float]
    max_retries: int
    metadata: List[Tuple[str, str]]
    credentials: Optional[grpc.ChannelCredentials]


def settings(model: Optional[str], context_length: Optional[int], address: Optional[str], timeout: Optional[float], max_retries: int,
             api_key: Optional[str], credentials: Optional[grpc.ChannelCredentials]) -> Settings:
    if context_length is not None and context_length < 2:
        raise ValueError(f"context_length must be at least 2, got {context_length}")
    if timeout is not None and timeout <= 0:
        raise ValueError(f"timeout must be above 0 seconds, or None for no end, got {timeout}")
    if max_retries < 0:
        raise ValueError(f"max_retries must be at least 0, got {max_retries}")
    metadata = [("authorization", f"Bearer {api_key}")] if api_key else []
    where = address or os.environ.get("QUARTET_ADDRESS") or DEFAULT_ADDRESS
    if where.startswith(("http://", "https://")):
        raise ValueError(f"address {where!r} is that of an HTTP API; this client speaks gRPC: give HOST:PORT, by default {DEFAULT_ADDRESS}")
    return Settings(model or "", context_length, where, timeout, max_retries, metadata, credentials)
