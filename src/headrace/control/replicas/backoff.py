"""How long to wait before what crashed is started again.

Pure: knows no process and no clock. Exponential, as Kubernetes' CrashLoopBackOff is, except that
the first crash costs no wait.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from headrace.control.resources import Replica, ReplicaState


@dataclass(frozen=True, slots=True)
class Backoff:
    """The waits: none after the first crash, then ``first_s``, doubling up to ``max_s``."""

    first_s: float = 1.0
    max_s: float = 300.0
    reset_after_s: float = 60.0
    """What was ready for so long ran well; a crash after that counts as the first one again."""
    num_crashes_of_loop: int = 3
    """So many crashes in a row are a crash loop."""


@dataclass(frozen=True, slots=True)
class Crashes:
    """What one revision's replicas did to themselves, lately."""

    num_in_a_row: int
    last_at: datetime
    """When the last one that counted happened."""
    cause: str
    """Of the last one, with its last lines of log."""


@dataclass(frozen=True, slots=True)
class Crash:
    """One replica's end."""

    created_at: datetime
    """The replica's."""
    ready_since: datetime | None
    at: datetime
    cause: str


def crash_of(replica: Replica, cause: str, at: datetime) -> Crash:
    """The end of this replica, which was in its state until now."""
    ready_since = replica.changed_at if replica.state is ReplicaState.READY else None
    return Crash(replica.created_at, ready_since, at, cause)


def add_crash(crashes: Crashes | None, crash: Crash, backoff: Backoff) -> Crashes:
    """``crashes`` and one more.

    Replicas that go down together are one crash: only a replica that was started after the last
    crash tells that starting again did not help.
    """
    if crashes is None or _ran_well(crash.ready_since, crash.at, backoff):
        return Crashes(1, crash.at, crash.cause)
    if crash.created_at < crashes.last_at:
        return Crashes(crashes.num_in_a_row, crashes.last_at, crash.cause)
    return Crashes(crashes.num_in_a_row + 1, crash.at, crash.cause)


def is_over(
    crashes: Crashes, created_at: datetime, ready_since: datetime | None, now: datetime, b: Backoff
) -> bool:
    """Whether this replica, which lives, shows that the crashes have passed."""
    return created_at >= crashes.last_at and _ran_well(ready_since, now, b)


def is_loop(crashes: Crashes | None, backoff: Backoff) -> bool:
    return crashes is not None and crashes.num_in_a_row >= backoff.num_crashes_of_loop


def wait_s(num_in_a_row: int, backoff: Backoff) -> float:
    """From the crash to the next start."""
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
