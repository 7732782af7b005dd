"""The clock that policies take as an argument, so that tests can pass a fake one."""

import time
from typing import Protocol


class Clock(Protocol):
    """Monotonic seconds, comparable between processes of one machine."""

    def now(self) -> float: ...


class MonotonicClock:
    """The system's monotonic clock."""

    def now(self) -> float:
        return time.monotonic()
