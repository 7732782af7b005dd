"""When requests are sent: in a closed loop, at a rate, or as in a trace.

Pure: the same arrivals give the same times on any machine.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from headrace.bench.errors import OptionError


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """A constant number of requests in flight, as long as there are more to send."""

    concurrency: int

    def __post_init__(self) -> None:
        _check_concurrency(self.concurrency)


@dataclass(frozen=True, slots=True)
class RatedArrivals:
    """An open loop: requests arrive at a rate, whether or not the server keeps up.

    Gaps are gamma-distributed, as in ``vllm bench serve``.
    """

    request_rate: float
    """Requests per second, on average; infinite for all at once."""
    burstiness: float = 1.0
    """Shape of the distribution: 1 is a Poisson process, less is burstier, infinite is a fixed
    rate."""
    max_concurrency: int | None = None
    """Requests above it are queued in the client."""
    seed: int = 0

    def __post_init__(self) -> None:
        _check_concurrency(self.max_concurrency)
        if not self.request_rate > 0:
            raise OptionError(f"The request rate must be above 0, got {self.request_rate:g}.")
        if not self.burstiness > 0:
            raise OptionError(f"The burstiness must be above 0, got {self.burstiness:g}.")


@dataclass(frozen=True, slots=True)
class TraceArrivals:
    """Requests arrive at the workload's ``arrival_s``."""

    max_concurrency: int | None = None

    def __post_init__(self) -> None:
        _check_concurrency(self.max_concurrency)


Arrivals = ClosedLoop | RatedArrivals | TraceArrivals


def max_concurrency_of(arrivals: Arrivals) -> int | None:
    """Maximum number of requests in flight; None without a limit."""
    if isinstance(arrivals, ClosedLoop):
        return arrivals.concurrency
    return arrivals.max_concurrency


def arrival_times(
    arrivals: RatedArrivals | TraceArrivals, traced_s: Sequence[float | None]
) -> list[float]:
    """Sending times in seconds after the start of the run. At a rate, the first one is 0.

    traced_s: one entry per request: its time in the trace, or None.
    Raises OptionError for a trace without times.
    """
    if isinstance(arrivals, RatedArrivals):
        return _rated_times(arrivals, len(traced_s))
    times = [time_s for time_s in traced_s if time_s is not None]
    if len(times) < len(traced_s):
        raise OptionError(
            "This workload has no arrival times; give --request-rate or --concurrency."
        )
    return times


def _rated_times(arrivals: RatedArrivals, num_requests: int) -> list[float]:
    """Gaps are scaled to a total of ``(num_requests - 1) / rate``, so that all seeds offer the same
    load. (So does ``vllm bench serve``, which also waits one gap before the first request.)
    """
    num_gaps = num_requests - 1
    if num_gaps < 1 or math.isinf(arrivals.request_rate):
        return [0.0] * num_requests
    source = random.Random(arrivals.seed)
    shape = arrivals.burstiness
    gaps = [1.0 if math.isinf(shape) else source.gammavariate(shape, 1.0) for _ in range(num_gaps)]
    total = sum(gaps)
    if total <= 0.0:  # with a shape near 0, all draws may round to 0: one burst
        gaps = [0.0] * (num_gaps - 1) + [1.0]
        total = 1.0
    span_s = num_gaps / arrivals.request_rate
    return [0.0, *accumulate(gap / total * span_s for gap in gaps)]  # span_s / total may overflow


def _check_concurrency(concurrency: int | None) -> None:
    if concurrency is not None and concurrency < 1:
        raise OptionError(f"The concurrency must be at least 1, got {concurrency}.")
