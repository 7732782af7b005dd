"""Queries for the blocks of samples of revisions."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, func, select, tuple_

from headrace.control.resources import RevisionKey
from headrace.control.store.tables import history, revisions

_MAX_NUM_KEYS = 500
"""In one statement."""


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """Consecutive samples of one revision."""

    key: RevisionKey
    step_s: int
    """Length of one sample."""
    begins_at: int
    """Unix time of the first sample."""
    samples: bytes


@dataclass(frozen=True, slots=True)
class BlockTime:
    """The blocks of all revisions that begin at one time."""

    step_s: int
    begins_at: int


class HistoryQueries:
    """Queries of one transaction, as in `Queries`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def blocks(
        self,
        service: str,
        step_s: int,
        begin: int,
        end: int,
        numbers: Collection[int] | None = None,
    ) -> list[StoredBlock]:
        """Those of a service's revisions that begin in ``[begin, end)``."""
        query = select(history).where(
            history.c.service == service,
            history.c.step_s == step_s,
            history.c.begins_at >= begin,
            history.c.begins_at < end,
        )
        if numbers is not None:
            query = query.where(history.c.revision.in_(numbers))
        return self._all(query)

    def numbers(self, service: str, step_s: int, begin: int, end: int, limit: int) -> list[int]:
        """The newest ``limit`` revisions that have such blocks, oldest first."""
        has_any = (
            select(history.c.begins_at)
            .where(
                history.c.service == revisions.c.service,
                history.c.revision == revisions.c.number,
                history.c.step_s == step_s,
                history.c.begins_at >= begin,
                history.c.begins_at < end,
            )
            .exists()
        )
        query = (
            select(revisions.c.number)
            .where(revisions.c.service == service, has_any)
            .order_by(revisions.c.number.desc())
            .limit(limit)
        )
        return list(self._connection.execute(query).scalars())[::-1]

    def blocks_at(self, step_s: int, begins_at: int) -> list[StoredBlock]:
        """Of all revisions."""
        return self._all(
            select(history).where(history.c.step_s == step_s, history.c.begins_at == begins_at)
        )

    def created_at(self, keys: Collection[RevisionKey]) -> dict[RevisionKey, datetime]:
        """When these revisions were created; without those that do not exist."""
        found: dict[RevisionKey, datetime] = {}
        pairs = [(key.service, key.number) for key in keys]
        for at in range(0, len(pairs), _MAX_NUM_KEYS):
            query = select(revisions.c.service, revisions.c.number, revisions.c.created_at).where(
                tuple_(revisions.c.service, revisions.c.number).in_(pairs[at : at + _MAX_NUM_KEYS])
            )
            for row in self._connection.execute(query):
                found[RevisionKey(row.service, row.number)] = row.created_at
        return found

    def oldest_times(self, step_s: int, limit: int, latest: int | None = None) -> list[BlockTime]:
        """At most ``limit``, oldest first, not after ``latest``."""
        query = (
            select(history.c.begins_at)
            .distinct()
            .where(history.c.step_s == step_s)
            .order_by(history.c.begins_at)
            .limit(limit)
        )
        if latest is not None:
            query = query.where(history.c.begins_at <= latest)
        times = self._connection.execute(query).scalars()
        return [BlockTime(step_s, begins_at) for begins_at in times]

    def num_blocks(self) -> int:
        return self._connection.execute(select(func.count()).select_from(history)).scalar_one()

    def _all(self, query: Select[Any]) -> list[StoredBlock]:
        return [
            StoredBlock(
                RevisionKey(row.service, row.revision), row.step_s, row.begins_at, row.samples
            )
            for row in self._connection.execute(query)
        ]
