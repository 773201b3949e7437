"""When a failed call is tried again, and after how long."""

import random
import time
from typing import Optional

import grpc

from .errors import retry_delay

_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 8.0


class Deadline:
    """The end of a request's time; all its attempts share it."""

    def __init__(self, timeout: Optional[float]):
        self.timeout = timeout
        self._end = None if timeout is None else time.monotonic() + timeout

    def remaining(self) -> Optional[float]:
        """Seconds; None without an end."""
        return None if self._end is None else max(self._end - time.monotonic(), 0.001)


class Backoff:
    """Counts the attempts of one request.

    A full server says in a RetryInfo when to come back; one that can't be reached is asked again after 0.5 s, 1 s, 2 s and so on.
    """

    def __init__(self, max_retries: int, deadline: Deadline):
        self._left = max_retries
        self._deadline = deadline
        self._delay = _FIRST_DELAY_S

    def delay(self, error: grpc.RpcError) -> Optional[float]:
        """Seconds until the next attempt; None if there shall be none."""
        told = retry_delay(error)
        busy = error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and told is not None
        if self._left == 0 or not (busy or error.code() == grpc.StatusCode.UNAVAILABLE):
            return None
        self._left -= 1
        base, self._delay = self._delay if told is None else told, min(2 * self._delay, _LONGEST_DELAY_S)
        # Clients that were refused together should not come back together.
        wait = base * random.uniform(1.0, 1.25)
        remaining = self._deadline.remaining()
        return None if remaining is not None and wait >= remaining else wait
