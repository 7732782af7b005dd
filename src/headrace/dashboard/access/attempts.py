"""Limits failed attempts to sign in."""

import threading
import time
from collections import deque
from collections.abc import Callable

MAX_NUM_FAILURES = 10
WINDOW_S = 60.0
_MAX_NUM_CLIENTS = 1000


class SignInAttempts:
    """At most `MAX_NUM_FAILURES` failures in `WINDOW_S` from one client address. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: dict[str, deque[float]] = {}
        """Times of recent failures by client address; the address that failed last is the last."""

    def wait_s(self, client: str) -> float:
        """How long this client has to wait before its next attempt, in seconds; 0 if not at all."""
        with self._lock:
            failures = self._recent(client)
            if len(failures) < MAX_NUM_FAILURES:
                return 0.0
            return failures[0] + WINDOW_S - self._clock()

    def note_failure(self, client: str) -> None:
        with self._lock:
            failures = self._recent(client)
            failures.append(self._clock())
            self._failures.pop(client, None)
            self._failures[client] = failures
            if len(self._failures) > _MAX_NUM_CLIENTS:
                del self._failures[next(iter(self._failures))]

    def note_success(self, client: str) -> None:
        with self._lock:
            self._failures.pop(client, None)

    def _recent(self, client: str) -> deque[float]:
        failures = self._failures.get(client, deque())
        while failures and failures[0] <= self._clock() - WINDOW_S:
            failures.popleft()
        return failures
