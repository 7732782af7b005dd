"""Goodput: requests per second within latency limits (DistServe, Zhong et al., 2024,
arXiv:2401.09670).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from headrace.bench.errors import OptionError

LIMIT_NAMES = ("ttft", "tpot", "itl", "max_itl", "e2el")


@dataclass(frozen=True, slots=True)
class GoodputLimits:
    """Upper limits for one request, in seconds; None is no limit."""

    ttft: float | None = None
    tpot: float | None = None
    itl: float | None = None
    """Mean gap between chunks."""
    max_itl: float | None = None
    """Longest gap between chunks, which detects stalls."""
    e2el: float | None = None
    """End-to-end latency."""

    def allow(self, times: "LimitedTimes") -> bool:
        """Whether all times are within limits; a missing time (TPOT of one token) is."""
        return all(
            limit is None or time_s is None or time_s <= limit
            for limit, time_s in (
                (self.ttft, times.ttft),
                (self.tpot, times.tpot),
                (self.itl, times.itl),
                (self.max_itl, times.max_itl),
                (self.e2el, times.e2el),
            )
        )


@dataclass(frozen=True, slots=True)
class LimitedTimes:
    """The times of one request that can be limited, in seconds."""

    ttft: float | None
    tpot: float | None
    itl: float | None
    max_itl: float | None
    e2el: float


@dataclass(frozen=True, slots=True)
class Goodput:
    """The requests within all limits."""

    limits: GoodputLimits
    num_good: int
    requests_per_s: float
    share: float
    """Of all requests, failed ones included."""


def parse_limits(pairs: Iterable[str]) -> GoodputLimits | None:
    """``["ttft:500", "itl:50"]``, in milliseconds; None if empty. Raises OptionError."""
    limits: dict[str, float] = {}
    for pair in pairs:
        name, _, value = pair.partition(":")
        if name not in LIMIT_NAMES:
            raise OptionError(
                f"--goodput {pair}: unknown limit; give NAME:MILLISECONDS with one of "
                f" {', '.join(LIMIT_NAMES)}."
            )
        if name in limits:
            raise OptionError(f"--goodput: {name} is given twice.")
        limits[name] = _milliseconds(pair, value) / 1000
    return GoodputLimits(**limits) if limits else None


def _milliseconds(pair: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not 0 < number < float("inf"):
        raise OptionError(f"--goodput {pair}: give NAME:MILLISECONDS, such as ttft:500.")
    return number
