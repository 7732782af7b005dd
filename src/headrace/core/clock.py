"""Where time comes from, so that policies and tests can be handed another clock."""

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds that only go forward, comparable between processes of one machine."""

    def now(self) -> float: ...


class MonotonicClock:
    """The system's monotonic clock."""

    def now(self) -> float:
        return time.monotonic()
