"""Processor time of several processes, and how much of it was spent between two looks.

It is told in ticks of 10 ms: over less than half a second a difference is a guess.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress

import psutil


def processor_times(processes: Iterable[psutil.Process]) -> dict[int, float]:
    """Seconds by pid, since each process began. What is gone is left out."""
    times = {}
    for process in processes:
        with suppress(psutil.Error, OSError):  # it ended while we looked
            spent = process.cpu_times()
            times[process.pid] = float(spent.user + spent.system)
    return times


def spent_between(earlier: Mapping[int, float], later: Mapping[int, float]) -> float:
    """Seconds, of all together. A process that was not there at the earlier look has done all its
    work since then."""
    return sum(max(spent_s - earlier.get(pid, 0.0), 0.0) for pid, spent_s in later.items())
