"""How many retries a service may have, so that retries do not overload a failing one.

A fifth of the requests of the last ten seconds may be retried, and ten a second in addition:
Finagle's RetryBudget (K. Oliver, "Retry Budgets", 2016).
"""

import math

WINDOW_S = 10
SHARE = 0.2
MIN_RETRIES_PER_S = 10


class RetryBudget:
    """Requests and retries of the last ten seconds, in buckets of one second."""

    __slots__ = ("_num_requests", "_num_retries", "_second")

    def __init__(self) -> None:
        self._second = 0
        self._num_requests = [0] * WINDOW_S
        self._num_retries = [0] * WINDOW_S

    def add_request(self, now: float) -> None:
        second = int(now)
        if second != self._second:
            self._advance(second)
        self._num_requests[second % WINDOW_S] += 1

    def take(self, now: float) -> bool:
        """Whether one more retry fits; if so it is counted."""
        second = int(now)
        if second != self._second:
            self._advance(second)
        allowed = MIN_RETRIES_PER_S * WINDOW_S + math.floor(SHARE * sum(self._num_requests))
        if sum(self._num_retries) >= allowed:
            return False
        self._num_retries[second % WINDOW_S] += 1
        return True

    def _advance(self, second: int) -> None:
        """Clear the buckets that have left the window."""
        for passed in range(max(self._second, second - WINDOW_S) + 1, second + 1):
            self._num_requests[passed % WINDOW_S] = 0
            self._num_retries[passed % WINDOW_S] = 0
        self._second = second
