"""The retention policy: which gone replicas and old events are removed, and when. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """Retention of one kind of rows, counted for each revision or service."""

    num_always: int
    """The newest ``num_always`` are kept, regardless of their age."""
    max_num: int
    """At most ``max_num`` are kept, regardless of their age."""
    age: timedelta
    """In between, older ones are removed."""


@dataclass(frozen=True, slots=True)
class LogLimit:
    """The disk space of a log: beyond it, only head and tail are kept."""

    max_num_bytes: int
    """Of disk space; a log that exceeds it is truncated in the middle."""
    num_head_bytes: int = _MIB

    @property
    def num_tail_bytes(self) -> int:
        """Half of the limit, so that truncations are rare."""
        return self.max_num_bytes // 2


REPLICA_LOG = LogLimit(64 * _MIB)
RUN_LOG = LogLimit(512 * _MIB)


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """The defaults are documented in deploy.md."""

    replicas: RetentionRule = RetentionRule(num_always=20, max_num=1000, age=timedelta(days=3))
    """Gone replicas of each revision: rows, and folders with logs."""
    events: RetentionRule = RetentionRule(num_always=100, max_num=10_000, age=timedelta(days=90))
    """Of each service. A run's events are removed with the run."""
    trim_age: timedelta = timedelta(minutes=15)
    """How long a gone replica keeps its imports and its whole log."""
    stray_age: timedelta = timedelta(days=7)
    """How long a folder without a row must have been unmodified before it is removed."""
    replica_log: LogLimit = REPLICA_LOG
    trimmed_log: LogLimit = LogLimit(4 * _MIB)
    """Of a replica that has been gone for `trim_age`."""
    run_log: LogLimit = RUN_LOG
    """Larger, because a job's log is often its result."""
    own_log: LogLimit = LogLimit(64 * _MIB)
    """Of the control plane, the gateway and the supervisor each."""


class Past(Protocol):
    """A row that may be removed."""

    @property
    def at(self) -> datetime: ...


PastT = TypeVar("PastT", bound=Past)


def expired(
    oldest_first: Sequence[PastT], num_all: int, now: datetime, keep: RetentionRule
) -> list[PastT]:
    """Those to remove. ``oldest_first``: the oldest of ``num_all``, or all of them."""
    num_spare = max(num_all - keep.num_always, 0)
    num_beyond = max(num_all - keep.max_num, 0)
    return [
        past
        for index, past in enumerate(oldest_first[:num_spare])
        if index < num_beyond or now - past.at > keep.age
    ]
