"""Decides what of the past is let go.

Pure: knows no database and no folder, and is told the time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """How long things of one kind are kept. Those of one revision, or one service, are counted."""

    num_always: int
    """The newest so many stay, however old they are."""
    max_num: int
    """More than so many are too many, however new they are."""
    age: timedelta
    """In between: what is older goes."""


@dataclass(frozen=True, slots=True)
class LogLimit:
    """How much of a log is kept: its beginning, which tells how things were set up, and its end."""

    max_num_bytes: int
    """On the disk. When there are more, what is between head and tail is let go."""
    num_head_bytes: int = _MIB

    @property
    def num_tail_bytes(self) -> int:
        """Half of what may be there, so that each letting go is worth its while."""
        return self.max_num_bytes // 2


REPLICA_LOG = LogLimit(64 * _MIB)
RUN_LOG = LogLimit(512 * _MIB)


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """What is kept of what is over. What is alive is kept, but for the middle of huge logs."""

    replicas: RetentionRule = RetentionRule(num_always=20, max_num=1000, age=timedelta(days=3))
    """Of each revision, of those that are gone: rows, and folders with logs."""
    events: RetentionRule = RetentionRule(num_always=100, max_num=10_000, age=timedelta(days=90))
    """Of each service. A run's events are few, and stay as long as the run is known."""
    trim_age: timedelta = timedelta(minutes=15)
    """How long a replica that is gone keeps its imports and its whole log: a crash loop leaves
    many of them."""
    stray_age: timedelta = timedelta(days=7)
    """How long a folder whose replica nobody knows must have been untouched."""
    replica_log: LogLimit = REPLICA_LOG
    trimmed_log: LogLimit = LogLimit(4 * _MIB)
    """Of a replica that has been gone for `trim_age`."""
    run_log: LogLimit = RUN_LOG
    """More: what a job said while it worked is its result as often as not."""
    own_log: LogLimit = LogLimit(64 * _MIB)
    """Of the control plane, the gateway and the supervisor each."""


class Past(Protocol):
    """Something that is over."""

    @property
    def at(self) -> datetime: ...


PastT = TypeVar("PastT", bound=Past)


def expired(
    oldest_first: Sequence[PastT], num_all: int, now: datetime, keep: RetentionRule
) -> list[PastT]:
    """Those that go. ``oldest_first`` are the first of ``num_all``, or all of them."""
    num_spare = max(num_all - keep.num_always, 0)
    num_beyond = max(num_all - keep.max_num, 0)
    return [
        past
        for index, past in enumerate(oldest_first[:num_spare])
        if index < num_beyond or now - past.at > keep.age
    ]
