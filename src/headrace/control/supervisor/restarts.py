"""Backoff of restarts of the daemons. Pure.

The delay doubles with each restart, and is reset after a process that ran for 30 s.
"""

from dataclasses import dataclass

_MIN_BACKOFF_S = 0.2
_MAX_BACKOFF_S = 30.0
_RAN_WELL_S = 30.0


@dataclass(slots=True)
class Restarts:
    """Of one daemon. Times are of a monotonic clock."""

    backoff_s: float = _MIN_BACKOFF_S
    """Between the next start and the one after it."""
    _started_s: float | None = None
    _seen_s: float | None = None
    """When it was last seen running."""
    _not_before_s: float = 0.0

    def note_running(self, now_s: float) -> None:
        if self._started_s is None:
            self._started_s = now_s
        self._seen_s = now_s

    def is_due(self, now_s: float) -> bool:
        """Whether the delay is over."""
        return now_s >= self._not_before_s

    def note_start(self, now_s: float) -> None:
        """Call it at each start, even if that fails."""
        if self._ran_s() > _RAN_WELL_S:
            self.backoff_s = _MIN_BACKOFF_S
        self._started_s = now_s
        self._seen_s = None
        self._not_before_s = now_s + self.backoff_s
        self.backoff_s = min(2 * self.backoff_s, _MAX_BACKOFF_S)

    def _ran_s(self) -> float:
        if self._started_s is None or self._seen_s is None:
            return 0.0
        return self._seen_s - self._started_s
