"""Consecutive probe results of one replica. Pure; the limits are the reconciler's."""

import math
from dataclasses import dataclass

from headrace.control.replicas.health.activity import Activity
from headrace.control.replicas.health.probes import ProbeResult


@dataclass(slots=True)
class ProbeRecord:
    """A timeout counts as a failed probe only if nothing shows that the replica is busy."""

    last: ProbeResult | None = None
    num_failed: int = 0
    """Consecutive."""
    num_timeouts_while_busy: int = 0
    """Consecutive timeouts while its processes were busy or it responded to other requests."""
    unresponsive_s: float = 0.0
    """Time without any response when the last probe ended."""
    is_stopped: bool = False
    """The listening process was stopped by a signal throughout the last probe."""
    _unresponsive_since_s: float | None = None
    _failing_since_s: float | None = None
    """When the first of the consecutive failed timeouts began."""
    _last_response_s: float = -math.inf

    def ended(
        self, result: ProbeResult, activity: Activity | None, began_s: float, now_s: float
    ) -> None:
        """``activity``: what its processes did during the probe, if that was measured."""
        self.last = result
        self.is_stopped = result.is_timeout and activity is Activity.STOPPED
        if not result.is_timeout:
            self.num_failed = 0 if result.is_healthy else self.num_failed + 1
            self.num_timeouts_while_busy = 0
            self.unresponsive_s = 0.0
            self._unresponsive_since_s = self._failing_since_s = None
            return
        if self._unresponsive_since_s is None:
            self._unresponsive_since_s = began_s
        self.unresponsive_s = now_s - max(self._unresponsive_since_s, self._last_response_s)
        if activity is Activity.BUSY or self._last_response_s > began_s:
            self.num_timeouts_while_busy += 1
            self._reset_failures()
            return
        self.num_timeouts_while_busy = 0
        self.num_failed += 1
        if self._failing_since_s is None:
            self._failing_since_s = began_s

    def heard(self, at_s: float) -> None:
        """The gateway received data from it at this time or later."""
        self._last_response_s = max(self._last_response_s, at_s)
        if self._failing_since_s is not None and self._last_response_s > self._failing_since_s:
            self._reset_failures()

    def _reset_failures(self) -> None:
        self.num_failed = 0
        self._failing_since_s = None
