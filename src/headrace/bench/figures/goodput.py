"""Limits that a request must keep to count as well served.

Goodput is the number of requests a second that keep all limits (DistServe, Zhong et al., 2024,
arXiv:2401.09670). Knows how a limit is written, not how a request's times are found.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from headrace.bench.errors import OptionError

LIMIT_NAMES = ("ttft", "tpot", "itl", "max_itl", "e2el")


@dataclass(frozen=True, slots=True)
class GoodputLimits:
    """Longest times of one request, in seconds; None is no limit."""

    ttft: float | None = None
    tpot: float | None = None
    itl: float | None = None
    """Of the mean of the request's gaps between chunks."""
    max_itl: float | None = None
    """Of the longest of them, so that a stall counts."""
    e2el: float | None = None
    """End to end: the whole latency."""

    def allow(self, times: "LimitedTimes") -> bool:
        """Whether every limit is kept. What a request has no time for (a TPOT with one token)
        breaks no limit."""
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
    """The times of one request that limits may be set for, in seconds."""

    ttft: float | None
    tpot: float | None
    itl: float | None
    max_itl: float | None
    e2el: float


@dataclass(frozen=True, slots=True)
class Goodput:
    """How much was served well."""

    limits: GoodputLimits
    num_good: int
    requests_per_s: float
    share: float
    """Of all requests, those that failed included."""


def parse_limits(pairs: Iterable[str]) -> GoodputLimits | None:
    """``["ttft:500", "itl:50"]``, in milliseconds; None where there are none."""
    limits: dict[str, float] = {}
    for pair in pairs:
        name, _, value = pair.partition(":")
        if name not in LIMIT_NAMES:
            raise OptionError(
                f"--goodput {pair}: there is no limit of that name; write NAME:MILLISECONDS with "
                f"one of {', '.join(LIMIT_NAMES)}."
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
        raise OptionError(f"--goodput {pair}: write NAME:MILLISECONDS, such as ttft:500.")
    return number
