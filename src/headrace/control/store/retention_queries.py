"""Queries for the retention of gone replicas and old events. They load ids and times only."""

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
    """A gone replica."""

    replica_id: str
    at: datetime
    """When it reached its final state."""


@dataclass(frozen=True, slots=True)
class PastEvent:
    event_id: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in the gone replicas, ordered by the time of their final state."""

    at: datetime
    replica_id: str = ""


class RetentionQueries:
    """Queries of one transaction, as in `Queries`."""

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
        """The gone replicas of a revision, oldest first."""
        query = (
            select(replicas.c.replica_id, replicas.c.changed_at)
            .where(replicas.c.service == key.service, replicas.c.revision == key.number)
            .where(replicas.c.state.in_(GONE_STATES))
            .order_by(replicas.c.changed_at, replicas.c.created_at, replicas.c.replica_id)
            .limit(limit)
        )
        return [PastReplica(*row) for row in self._connection.execute(query)]

    def num_events(self) -> dict[str | None, int]:
        """By service; None for events without a service. Runs' events are not counted."""
        query = (
            select(events.c.service, func.count())
            .where(events.c.run_id.is_(None))
            .group_by(events.c.service)
        )
        return {row[0]: row[1] for row in self._connection.execute(query)}

    def oldest_events(self, service: str | None, limit: int) -> list[PastEvent]:
        """The oldest of those that `num_events` counts."""
        query = (
            select(events.c.event_id, events.c.at)
            .where(events.c.service == service)  # with None this is IS NULL
            .where(events.c.run_id.is_(None))
            .order_by(events.c.event_id)
            .limit(limit)
        )
        return [PastEvent(*row) for row in self._connection.execute(query)]

    def gone_between(self, after: Cursor, until: datetime, limit: int) -> list[PastReplica]:
        """Replicas that were gone after the cursor and not after ``until``, in that order."""
        end, row_id = replicas.c.changed_at, replicas.c.replica_id
        mark = tuple_(literal(after.at, UtcDateTime()), literal(after.replica_id))
        query = (
            select(row_id, end)
            .where(replicas.c.state.in_(GONE_STATES))
            .where(end >= after.at, end <= until)  # uses the index
            .where(tuple_(end, row_id) > mark)
            .order_by(end, row_id)
            .limit(limit)
        )
        return [PastReplica(*row) for row in self._connection.execute(query)]

    def replica_ids(self, service: str) -> list[str]:
        query = select(replicas.c.replica_id).where(replicas.c.service == service)
        return list(self._connection.execute(query).scalars())

    def known_replicas(self, replica_ids: Sequence[str]) -> set[str]:
        """The ids that exist in the store."""
        known: set[str] = set()
        for begin in range(0, len(replica_ids), _MAX_NUM_NAMES):
            names = replica_ids[begin : begin + _MAX_NUM_NAMES]
            query = select(replicas.c.replica_id).where(replicas.c.replica_id.in_(names))
            known.update(self._connection.execute(query).scalars())
        return known
