"""What the store still has of the past, as little of each as tells how long to keep it.

Knows no rule of what is kept, and changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, literal, select, tuple_

from headrace.control.resources import REPLICA_CHANGES, RevisionKey
from headrace.control.store.columns import UtcDateTime
from headrace.control.store.tables import events, replicas

GONE_STATES = sorted(state.value for state, next_ones in REPLICA_CHANGES.items() if not next_ones)

_MAX_NUM_NAMES = 500
"""In one statement."""


@dataclass(frozen=True, slots=True)
class PastReplica:
    """One that is gone."""

    replica_id: str
    at: datetime
    """When it went."""


@dataclass(frozen=True, slots=True)
class PastEvent:
    event_id: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far somebody has looked through the replicas that are gone, in the order of going."""

    at: datetime
    replica_id: str = ""


class RetentionQueries:
    """Queries of one database transaction, as `Queries` has them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def num_gone(self) -> dict[RevisionKey, int]:
        """How many replicas of each revision are gone."""
        query = (
            select(replicas.c.service, replicas.c.revision, func.count())
            .where(replicas.c.state.in_(GONE_STATES))
            .group_by(replicas.c.service, replicas.c.revision)
        )
        found = self._connection.execute(query)
        return {RevisionKey(service, number): num for service, number, num in found}

    def oldest_gone(self, key: RevisionKey, limit: int) -> list[PastReplica]:
        """The replicas of a revision that went first, in that order."""
        query = (
            select(replicas.c.replica_id, replicas.c.changed_at)
            .where(replicas.c.service == key.service, replicas.c.revision == key.number)
            .where(replicas.c.state.in_(GONE_STATES))
            .order_by(replicas.c.changed_at, replicas.c.created_at, replicas.c.replica_id)
            .limit(limit)
        )
        return [PastReplica(*row) for row in self._connection.execute(query)]

    def num_events(self) -> dict[str | None, int]:
        """By service; None has those of no service. A run's are few, and stay with it."""
        query = (
            select(events.c.service, func.count())
            .where(events.c.run_id.is_(None))
            .group_by(events.c.service)
        )
        return {row[0]: row[1] for row in self._connection.execute(query)}

    def oldest_events(self, service: str | None, limit: int) -> list[PastEvent]:
        """The first of those that `num_events` counts."""
        query = (
            select(events.c.event_id, events.c.at)
            .where(events.c.service == service)  # with None this is IS NULL
            .where(events.c.run_id.is_(None))
            .order_by(events.c.event_id)
            .limit(limit)
        )
        return [PastEvent(*row) for row in self._connection.execute(query)]

    def gone_between(self, after: Cursor, until: datetime, limit: int) -> list[PastReplica]:
        """Replicas that went after the mark and not after ``until``, in that order."""
        end, row_id = replicas.c.changed_at, replicas.c.replica_id
        mark = tuple_(literal(after.at, UtcDateTime()), literal(after.replica_id))
        query = (
            select(row_id, end)
            .where(replicas.c.state.in_(GONE_STATES))
            .where(end >= after.at, end <= until)  # which an index can do
            .where(tuple_(end, row_id) > mark)
            .order_by(end, row_id)
            .limit(limit)
        )
        return [PastReplica(*row) for row in self._connection.execute(query)]

    def replica_ids(self, service: str) -> list[str]:
        query = select(replicas.c.replica_id).where(replicas.c.service == service)
        return list(self._connection.execute(query).scalars())

    def known_replicas(self, replica_ids: Sequence[str]) -> set[str]:
        """Those of the ids that the store has."""
        known: set[str] = set()
        for begin in range(0, len(replica_ids), _MAX_NUM_NAMES):
            names = replica_ids[begin : begin + _MAX_NUM_NAMES]
            query = select(replicas.c.replica_id).where(replicas.c.replica_id.in_(names))
            known.update(self._connection.execute(query).scalars())
        return known
