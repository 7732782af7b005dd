"""Backoff of restarts after crashes. Pure.

Exponential, as Kubernetes' CrashLoopBackOff, except that the first restart is immediate.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from headrace.control.resources import Replica, ReplicaState


@dataclass(frozen=True, slots=True)
class Backoff:
    """The delays: none after the first crash, then ``first_s``, doubling up to ``max_s``."""

    first_s: float = 1.0
    max_s: float = 300.0
    reset_after_s: float = 60.0
    """A replica that was ready for this long ran well; the next crash counts as the first."""
    num_crashes_of_loop: int = 3
    """This many consecutive crashes are a crash loop."""


@dataclass(frozen=True, slots=True)
class Crashes:
    """Recent consecutive crashes of one revision's replicas."""

    num_in_a_row: int
    last_at: datetime
    """When the last counted crash happened."""
    cause: str
    """Of the last crash, with the end of the log."""


@dataclass(frozen=True, slots=True)
class Crash:
    """The crash of one replica."""

    created_at: datetime
    """The replica's."""
    ready_since: datetime | None
    at: datetime
    cause: str


def crash_of(replica: Replica, cause: str, at: datetime) -> Crash:
    """The crash of a replica that was in ``replica.state`` until ``at``."""
    ready_since = replica.changed_at if replica.state is ReplicaState.READY else None
    return Crash(replica.created_at, ready_since, at, cause)


def add_crash(crashes: Crashes | None, crash: Crash, backoff: Backoff) -> Crashes:
    """``crashes`` and one more.

    Replicas that crash together count as one crash: only a replica that was started after the last
    counted crash shows that a restart did not help.
    """
    if crashes is None or _ran_well(crash.ready_since, crash.at, backoff):
        return Crashes(1, crash.at, crash.cause)
    if crash.created_at < crashes.last_at:
        return Crashes(crashes.num_in_a_row, crashes.last_at, crash.cause)
    return Crashes(crashes.num_in_a_row + 1, crash.at, crash.cause)


def is_over(
    crashes: Crashes, created_at: datetime, ready_since: datetime | None, now: datetime, b: Backoff
) -> bool:
    """Whether a live replica has run well for long enough to reset the crash count."""
    return created_at >= crashes.last_at and _ran_well(ready_since, now, b)


def is_loop(crashes: Crashes | None, backoff: Backoff) -> bool:
    return crashes is not None and crashes.num_in_a_row >= backoff.num_crashes_of_loop


def wait_s(num_in_a_row: int, backoff: Backoff) -> float:
    """Seconds from the crash to the next start."""
    if num_in_a_row <= 1:
        return 0.0
    num_doublings = min(num_in_a_row - 2, 64)  # beyond that floats only grow
    return min(backoff.first_s * 2.0**num_doublings, backoff.max_s)


def next_start_at(crashes: Crashes, backoff: Backoff) -> datetime:
    return crashes.last_at + timedelta(seconds=wait_s(crashes.num_in_a_row, backoff))


def _ran_well(ready_since: datetime | None, until: datetime, backoff: Backoff) -> bool:
    if ready_since is None:
        return False
    return (until - ready_since).total_seconds() >= backoff.reset_after_s
