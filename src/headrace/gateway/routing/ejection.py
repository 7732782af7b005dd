"""Whether a replica is well enough for requests, from how they end and from probes.

A refused connection or two failed probes eject a replica at once. An answer cut short, or 502, 503
or 504, may be bad luck: three of them in a row within ten seconds eject it, but only while another
replica of its target is usable, since a replica that fails some requests is better than none. An
ejected replica is probed, soon and then ever less often, and comes back when a probe succeeds; one
that is ejected again before it has answered a request waits longer for its first probe. After
Envoy's outlier detection.

Ejected is not yet dead. One that is silent may be at work, as servers are that compute one request
at a time and answer no probe meanwhile: it gets no new requests, but what it has is left to it, and
the first answer brings it back. Pure; knows no network.
"""

import enum
import math

MAX_NUM_FAILURES = 3
FAILURE_WINDOW_S = 10.0
MAX_NUM_PROBE_FAILURES = 2
MIN_PROBE_INTERVAL_S = 0.25
MAX_PROBE_INTERVAL_S = 5.0
MIN_PATIENCE_S = 3.0
"""A replica with requests under way that says nothing for so long is asked whether it lives."""
MAX_PATIENCE_S = 600.0
PATIENCE_GROWTH = 4.0
"""One that was silent and yet was well (it answers one request at a time, say) is left alone so
many times longer before it is asked again."""


class ProbeOutcome(enum.Enum):
    WELL = enum.auto()
    UNWELL = enum.auto()
    """Nobody is there, or it answers with an error."""
    SILENT = enum.auto()
    """Nothing came in time: it hangs, or is at work and answers nothing meanwhile."""


class Verdict(enum.Enum):
    """What a probe, a failure or an answer changed."""

    SAME = enum.auto()
    EJECTED = enum.auto()
    """It gets no new requests; what is under way there goes on."""
    DEAD = enum.auto()
    """The same, and what is under way there is to be given up."""
    BACK = enum.auto()


class Health:
    """One replica's."""

    __slots__ = (
        "is_ejected",
        "is_probing",
        "is_silent",
        "last_failure_at",
        "num_ejections",
        "num_failures",
        "num_probe_failures",
        "patience_s",
        "probe_at",
    )

    def __init__(self) -> None:
        self.is_ejected = False
        self.is_probing = False
        self.num_failures = 0
        """In a row, of those that may be bad luck."""
        self.last_failure_at = -math.inf
        self.num_probe_failures = 0
        """In a row."""
        self.num_ejections = 0
        """Since it last answered a request."""
        self.probe_at = math.inf
        """When it is next to be probed, whether silent or not."""
        self.patience_s = MIN_PATIENCE_S
        self.is_silent = False
        """It is ejected for its silence alone."""

    @property
    def is_well(self) -> bool:
        """It takes requests, and no probe is under way or due that could say otherwise."""
        return not self.is_ejected and not self.is_probing and self.probe_at == math.inf

    def succeeded(self) -> Verdict:
        """It answered a request."""
        if self.is_ejected and not self.is_silent:
            return Verdict.SAME
        self.num_failures = 0
        self.num_ejections = 0
        return self._come_back() if self.is_ejected else Verdict.SAME

    def failed(self, now: float, is_certain: bool, is_last: bool) -> Verdict:
        """A request failed there; ``is_certain``: no other request could have succeeded."""
        if self.is_ejected:
            return Verdict.SAME
        if is_certain:
            return self._eject(now)
        if now - self.last_failure_at > FAILURE_WINDOW_S:
            self.num_failures = 0
        self.num_failures += 1
        self.last_failure_at = now
        if self.num_failures >= MAX_NUM_FAILURES and not is_last:
            return self._eject(now)
        self.probe_at = min(self.probe_at, now)
        return Verdict.SAME

    def wants_probe(self, now: float, silent_since: float | None) -> bool:
        """``silent_since``: when it was last heard of, if requests are under way there."""
        if self.is_probing:
            return False
        if self.probe_at <= now:
            return True
        if self.is_ejected:
            return False
        return silent_since is not None and now - silent_since > self.patience_s

    def probed(self, outcome: ProbeOutcome, now: float) -> Verdict:
        """A probe ended."""
        self.is_probing = False
        if outcome is ProbeOutcome.WELL:
            if self.is_ejected:
                return self._come_back()
            self.num_probe_failures = 0
            self.probe_at = math.inf
            return Verdict.SAME
        self.num_probe_failures += 1
        if self.is_ejected:
            self.probe_at = now + _interval_s(self.num_ejections + self.num_probe_failures)
            return Verdict.SAME
        if self.num_probe_failures < MAX_NUM_PROBE_FAILURES:
            self.probe_at = now
            return Verdict.SAME
        self._eject(now)
        self.is_silent = outcome is ProbeOutcome.SILENT
        return Verdict.EJECTED if self.is_silent else Verdict.DEAD

    def _come_back(self) -> Verdict:
        self.is_ejected = False
        self.num_failures = 0
        self.num_probe_failures = 0
        self.probe_at = math.inf
        if self.is_silent:
            self.is_silent = False
            self.patience_s = min(MAX_PATIENCE_S, self.patience_s * PATIENCE_GROWTH)
        return Verdict.BACK

    def _eject(self, now: float) -> Verdict:
        self.is_ejected = True
        self.num_ejections += 1
        self.num_failures = 0
        self.num_probe_failures = 0
        self.probe_at = now + _interval_s(self.num_ejections)
        return Verdict.EJECTED


def _interval_s(num_failures: int) -> float:
    """Twice as long each time: 0.25 s, 0.5 s, and so on up to 5 s."""
    return min(MAX_PROBE_INTERVAL_S, MIN_PROBE_INTERVAL_S * 2.0 ** min(num_failures - 1, 10))
