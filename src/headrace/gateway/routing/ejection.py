"""Whether a replica is healthy enough for requests, by their outcomes and by probes.

A refused connection or two failed probes eject a replica at once. A response that is cut, or 502,
503 or 504, may be transient: three in a row within ten seconds eject it, but only while another
replica of its target is usable, since a replica that fails some requests is better than none. An
ejected replica is probed with exponential backoff, and is restored when a probe succeeds; one that
is ejected again before it has answered a request waits longer for its first probe. After Envoy's
outlier detection.

Ejected is not dead. A replica that processes one request at a time may answer no probe meanwhile:
it gets no new requests, its requests in flight continue, and its first response restores it. Pure.
"""

import enum
import math

MAX_NUM_FAILURES = 3
FAILURE_WINDOW_S = 10.0
MAX_NUM_PROBE_FAILURES = 2
MIN_PROBE_INTERVAL_S = 0.25
MAX_PROBE_INTERVAL_S = 5.0
MIN_RESPONSE_GRACE_S = 3.0
"""A replica that has requests and sends nothing for this long is probed."""
MAX_RESPONSE_GRACE_S = 600.0
RESPONSE_GRACE_GROWTH = 4.0
"""A replica that was unresponsive and recovered (it processes one request at a time, for example)
gets this many times as long before the next probe."""


class ProbeOutcome(enum.Enum):
    HEALTHY = enum.auto()
    UNHEALTHY = enum.auto()
    """The connection was refused or closed, or the response is a server error."""
    UNRESPONSIVE = enum.auto()
    """No response in time: the replica hangs, or is busy with a request."""


class HealthChange(enum.Enum):
    """What a probe, a failure or a response changed."""

    NONE = enum.auto()
    EJECTED = enum.auto()
    """It gets no new requests; its requests in flight continue."""
    DEAD = enum.auto()
    """It is ejected, and its requests in flight are to be aborted."""
    RESTORED = enum.auto()


class Health:
    """The health of one replica."""

    __slots__ = (
        "is_ejected",
        "is_probing",
        "is_unresponsive",
        "last_failure_at",
        "num_ejections",
        "num_failures",
        "num_probe_failures",
        "probe_at",
        "response_grace_s",
    )

    def __init__(self) -> None:
        self.is_ejected = False
        self.is_probing = False
        self.num_failures = 0
        """In a row; only failures that may be transient."""
        self.last_failure_at = -math.inf
        self.num_probe_failures = 0
        """In a row."""
        self.num_ejections = 0
        """Since it last answered a request."""
        self.probe_at = math.inf
        """When the next probe is due, whether it is responsive or not."""
        self.response_grace_s = MIN_RESPONSE_GRACE_S
        self.is_unresponsive = False
        """It is ejected only because it was unresponsive."""

    @property
    def is_healthy(self) -> bool:
        """It takes requests, and no probe is due or in progress."""
        return not self.is_ejected and not self.is_probing and self.probe_at == math.inf

    def succeeded(self) -> HealthChange:
        """It answered a request."""
        if self.is_ejected and not self.is_unresponsive:
            return HealthChange.NONE
        self.num_failures = 0
        self.num_ejections = 0
        return self._restore() if self.is_ejected else HealthChange.NONE

    def failed(self, now: float, is_certain: bool, is_last: bool) -> HealthChange:
        """It failed a request. ``is_certain``: it would fail every request; ``is_last``: it is the
        only usable replica of its target."""
        if self.is_ejected:
            return HealthChange.NONE
        if is_certain:
            return self._eject(now)
        if now - self.last_failure_at > FAILURE_WINDOW_S:
            self.num_failures = 0
        self.num_failures += 1
        self.last_failure_at = now
        if self.num_failures >= MAX_NUM_FAILURES and not is_last:
            return self._eject(now)
        self.probe_at = min(self.probe_at, now)
        return HealthChange.NONE

    def needs_probe(self, now: float, waiting_since: float | None) -> bool:
        """``waiting_since``: when it last sent something, if it has requests."""
        if self.is_probing:
            return False
        if self.probe_at <= now:
            return True
        if self.is_ejected:
            return False
        return waiting_since is not None and now - waiting_since > self.response_grace_s

    def probed(self, outcome: ProbeOutcome, now: float) -> HealthChange:
        """A probe ended."""
        self.is_probing = False
        if outcome is ProbeOutcome.HEALTHY:
            if self.is_ejected:
                return self._restore()
            self.num_probe_failures = 0
            self.probe_at = math.inf
            return HealthChange.NONE
        self.num_probe_failures += 1
        if self.is_ejected:
            self.probe_at = now + _interval_s(self.num_ejections + self.num_probe_failures)
            return HealthChange.NONE
        if self.num_probe_failures < MAX_NUM_PROBE_FAILURES:
            self.probe_at = now
            return HealthChange.NONE
        self._eject(now)
        self.is_unresponsive = outcome is ProbeOutcome.UNRESPONSIVE
        return HealthChange.EJECTED if self.is_unresponsive else HealthChange.DEAD

    def _restore(self) -> HealthChange:
        self.is_ejected = False
        self.num_failures = 0
        self.num_probe_failures = 0
        self.probe_at = math.inf
        if self.is_unresponsive:
            self.is_unresponsive = False
            self.response_grace_s = min(
                MAX_RESPONSE_GRACE_S, self.response_grace_s * RESPONSE_GRACE_GROWTH
            )
        return HealthChange.RESTORED

    def _eject(self, now: float) -> HealthChange:
        self.is_ejected = True
        self.num_ejections += 1
        self.num_failures = 0
        self.num_probe_failures = 0
        self.probe_at = now + _interval_s(self.num_ejections)
        return HealthChange.EJECTED


def _interval_s(num_failures: int) -> float:
    """Exponential backoff: 0.25 s, 0.5 s, and so on up to 5 s."""
    return min(MAX_PROBE_INTERVAL_S, MIN_PROBE_INTERVAL_S * 2.0 ** min(num_failures - 1, 10))
