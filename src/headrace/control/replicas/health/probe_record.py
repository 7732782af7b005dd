"""What one replica's probes have shown up to now: in a row failed, in a row silent but at work.

Pure: knows no process and no clock. Whether that is too much is the reconciler's matter.
"""

import math
from dataclasses import dataclass

from headrace.control.replicas.health.activity import Activity
from headrace.control.replicas.health.probes import ProbeResult


@dataclass(slots=True)
class ProbeRecord:
    """A silent replica fails its probe only if nothing shows that it is at work."""

    last: ProbeResult | None = None
    num_failed: int = 0
    """In a row."""
    num_timeouts_while_busy: int = 0
    """In a row, of those that were silent while its processes worked or it answered others."""
    unresponsive_s: float = 0.0
    """How long nothing had come from it when the last probe ended."""
    is_stopped: bool = False
    """So was the process that listens, all through the last probe."""
    _unresponsive_since_s: float | None = None
    _failing_since_s: float | None = None
    """When the first of the silent probes began that failed in a row."""
    _last_response_s: float = -math.inf

    def ended(
        self, result: ProbeResult, work: Activity | None, began_s: float, now_s: float
    ) -> None:
        """``work``: what its processes did while the probe waited, if somebody looked."""
        self.last = result
        self.is_stopped = result.is_timeout and work is Activity.STOPPED
        if not result.is_timeout:
            self.num_failed = 0 if result.is_healthy else self.num_failed + 1
            self.num_timeouts_while_busy = 0
            self.unresponsive_s = 0.0
            self._unresponsive_since_s = self._failing_since_s = None
            return
        if self._unresponsive_since_s is None:
            self._unresponsive_since_s = began_s
        self.unresponsive_s = now_s - max(self._unresponsive_since_s, self._last_response_s)
        if work is Activity.BUSY or self._last_response_s > began_s:
            self.num_timeouts_while_busy += 1
            self._reset_failures()
            return
        self.num_timeouts_while_busy = 0
        self.num_failed += 1
        if self._failing_since_s is None:
            self._failing_since_s = began_s

    def heard(self, at_s: float) -> None:
        """The gateway has had something from it then, or later."""
        self._last_response_s = max(self._last_response_s, at_s)
        if self._failing_since_s is not None and self._last_response_s > self._failing_since_s:
            self._reset_failures()

    def _reset_failures(self) -> None:
        self.num_failed = 0
        self._failing_since_s = None
