"""The store's read queries."""

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Select, Table, func, select, tuple_

from headrace.control.devices.assignment import Holding
from headrace.control.resources import (
    REPLICA_CHANGES,
    RUN_CHANGES,
    Event,
    Gateway,
    Replica,
    ReplicaState,
    Revision,
    RevisionPhase,
    Run,
    Service,
    ServiceKey,
    Token,
)
from headrace.control.store import mapping
from headrace.control.store.history_queries import HistoryQueries
from headrace.control.store.retention_queries import GONE_STATES, RetentionQueries
from headrace.control.store.tables import (
    counters,
    events,
    gateways,
    replicas,
    revisions,
    runs,
    secrets,
    service_keys,
    services,
    tokens,
)
from headrace.control.store.usage_queries import UsageQueries

ROUTE_VERSION = "route_version"

_LIVE_STATES = sorted(state.value for state, next_ones in REPLICA_CHANGES.items() if next_ones)
_OPEN_RUN_STATES = sorted(state.value for state, next_ones in RUN_CHANGES.items() if next_ones)
_LIVE_PHASES = sorted(
    phase.value for phase in RevisionPhase if phase is not RevisionPhase.TERMINATED
)

_T = TypeVar("_T")


class Queries:
    """Queries of one transaction, which see one consistent state; valid until its block ends."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def retention(self) -> RetentionQueries:
        """Queries for the retention of gone replicas and old events."""
        return RetentionQueries(self._connection)

    @property
    def history(self) -> HistoryQueries:
        """Queries for the metrics of revisions over time."""
        return HistoryQueries(self._connection)

    @property
    def usage(self) -> UsageQueries:
        """Queries for the usage by day, service, API key and model."""
        return UsageQueries(self._connection)

    def services(self) -> list[Service]:
        """By name."""
        return self._all(select(services).order_by(services.c.name), mapping.service_from)

    def service(self, name: str) -> Service | None:
        return self._one(select(services).where(services.c.name == name), mapping.service_from)

    def revisions(
        self,
        service: str | None = None,
        *,
        numbers: Collection[int] | None = None,
        live_only: bool = False,
        limit: int | None = None,
        before: int | None = None,
    ) -> list[Revision]:
        """By service and number; ``live_only`` leaves out those that are terminated.

        With ``limit`` the newest ``limit`` of a service, of those before number ``before``.
        """
        query = select(revisions)
        if numbers is not None:
            query = query.where(revisions.c.number.in_(numbers))
        if service is not None:
            query = query.where(revisions.c.service == service)
        if live_only:
            query = query.where(revisions.c.phase.in_(_LIVE_PHASES))
        if before is not None:
            query = query.where(revisions.c.number < before)
        if limit is None:
            query = query.order_by(revisions.c.service, revisions.c.number)
            return self._all(query, mapping.revision_from)
        query = query.order_by(revisions.c.number.desc()).limit(limit)
        return self._all(query, mapping.revision_from)[::-1]

    def num_revisions(self, service: str | None = None) -> dict[str, int]:
        """Of each service that has any, terminated ones included."""
        query = select(revisions.c.service, func.count()).group_by(revisions.c.service)
        if service is not None:
            query = query.where(revisions.c.service == service)
        return {row[0]: row[1] for row in self._connection.execute(query)}

    def revision(self, service: str, number: int) -> Revision | None:
        query = select(revisions).where(
            revisions.c.service == service, revisions.c.number == number
        )
        return self._one(query, mapping.revision_from)

    def replicas(
        self,
        service: str | None = None,
        revision: int | None = None,
        live_only: bool = False,
        *,
        limit: int | None = None,
        before: str | None = None,
    ) -> list[Replica]:
        """Oldest first; ``live_only`` leaves out those that are gone.

        With ``limit`` the newest ``limit``, of those before the replica ``before``.
        """
        query = select(replicas)
        if service is not None:
            query = query.where(replicas.c.service == service)
        if revision is not None:
            query = query.where(replicas.c.revision == revision)
        if live_only:
            query = query.where(replicas.c.state.in_(_LIVE_STATES))
        found = self._all(_page(query, replicas, "replica_id", limit, before), mapping.replica_from)
        return sorted(found, key=lambda one: (one.created_at, one.replica_id))

    def last_gone(self, service: str, revision: int, limit: int) -> list[Replica]:
        """The most recent gone replicas of a revision, newest first."""
        found = []
        for state in GONE_STATES:  # one at a time, so that an index provides the order
            query = (
                select(replicas)
                .where(replicas.c.service == service, replicas.c.revision == revision)
                .where(replicas.c.state == state)
                .order_by(replicas.c.changed_at.desc(), replicas.c.created_at.desc())
                .limit(limit)
            )
            found += self._all(query, mapping.replica_from)
        found.sort(key=lambda one: (one.changed_at, one.created_at), reverse=True)
        return found[:limit]

    def status_replicas(
        self, service: str, revisions: Iterable[Revision], num_gone: int
    ) -> dict[int, list[Replica]]:
        """By number of each revision that is not terminated: its live replicas and, if none is
        ready, its ``num_gone`` most recent gone ones. Two queries."""
        numbers = [one.number for one in revisions if one.phase is not RevisionPhase.TERMINATED]
        found: dict[int, list[Replica]] = {number: [] for number in numbers}
        for replica in self.replicas(service, live_only=True):
            if replica.revision in found:
                found[replica.revision].append(replica)
        not_ready = [
            number
            for number, live in found.items()
            if not any(replica.state is ReplicaState.READY for replica in live)
        ]
        for replica in self._last_gone_of(service, not_ready, num_gone):
            found[replica.revision].append(replica)
        return found

    def _last_gone_of(self, service: str, numbers: Collection[int], limit: int) -> list[Replica]:
        """The ``limit`` most recent gone replicas of each of these revisions."""
        if not numbers:
            return []
        newest_first = (replicas.c.changed_at.desc(), replicas.c.created_at.desc())
        rank = func.row_number().over(partition_by=replicas.c.revision, order_by=newest_first)
        ranked = (
            select(replicas, rank.label("rank"))
            .where(replicas.c.service == service, replicas.c.revision.in_(numbers))
            .where(replicas.c.state.in_(GONE_STATES))
            .subquery()
        )
        return self._all(select(ranked).where(ranked.c.rank <= limit), mapping.replica_from)

    def failed_since(self, moment: datetime) -> list[Replica]:
        """Replicas that failed then or later, in that order."""
        query = (
            select(replicas)
            .where(replicas.c.state == ReplicaState.FAILED.value)
            .where(replicas.c.changed_at >= moment)
            .order_by(replicas.c.changed_at, replicas.c.replica_id)
        )
        return self._all(query, mapping.replica_from)

    def replica(self, replica_id: str) -> Replica | None:
        query = select(replicas).where(replicas.c.replica_id == replica_id)
        return self._one(query, mapping.replica_from)

    def gateways(self) -> list[Gateway]:
        """By service."""
        return self._all(select(gateways).order_by(gateways.c.service), mapping.gateway_from)

    def gateway(self, service: str) -> Gateway | None:
        return self._one(
            select(gateways).where(gateways.c.service == service), mapping.gateway_from
        )

    def runs(
        self, open_only: bool = False, *, limit: int | None = None, before: str | None = None
    ) -> list[Run]:
        """Oldest first; ``open_only`` leaves out those that are over.

        With ``limit`` the newest ``limit``, of those before the run ``before``.
        """
        query = select(runs)
        if open_only:
            query = query.where(runs.c.state.in_(_OPEN_RUN_STATES))
        found = self._all(_page(query, runs, "run_id", limit, before), mapping.run_from)
        return sorted(found, key=lambda one: (one.created_at, one.run_id))

    def run(self, run_id: str) -> Run | None:
        return self._one(select(runs).where(runs.c.run_id == run_id), mapping.run_from)

    def taken_ports(self, except_run_id: str | None = None) -> set[int]:
        """Host ports of live replicas and open runs."""
        holders: list[Replica | Run] = [
            *self.replicas(live_only=True),
            *(run for run in self.runs(open_only=True) if run.run_id != except_run_id),
        ]
        return {port for holder in holders for port in holder.host_ports.values()}

    def gpu_holdings(self) -> list[Holding]:
        """Of live replicas and open runs; oldest first."""
        replicas, runs = self.replicas(live_only=True), self.runs(open_only=True)
        return [
            *(Holding(f"{one.service} revision {one.revision}", one.gpus) for one in replicas),
            *(Holding(f"run {one.run_id}", one.gpus) for one in runs),
        ]

    def events(
        self,
        service: str | None = None,
        run_id: str | None = None,
        limit: int = 100,
        after_id: int | None = None,
        before_id: int | None = None,
    ) -> list[Event]:
        """Oldest first: the newest ``limit`` of them, or the first ``limit`` after ``after_id``.

        With ``before_id`` of those before it. Ids are in the order of commits, so polling with the
        last id misses no event.
        """
        query = select(events).limit(limit)
        if service is not None:
            query = query.where(events.c.service == service)
        if run_id is not None:
            query = query.where(events.c.run_id == run_id)
        if before_id is not None:
            query = query.where(events.c.event_id < before_id)
        if after_id is not None:
            query = query.where(events.c.event_id > after_id).order_by(events.c.event_id)
            return self._all(query, mapping.event_from)
        newest_first = self._all(query.order_by(events.c.event_id.desc()), mapping.event_from)
        return newest_first[::-1]

    def tokens(self) -> list[Token]:
        """By name."""
        return self._all(select(tokens).order_by(tokens.c.name), mapping.token_from)

    def token_by_hash(self, token_hash: str) -> Token | None:
        return self._one(
            select(tokens).where(tokens.c.token_hash == token_hash), mapping.token_from
        )

    def service_keys(self, service: str | None = None) -> list[ServiceKey]:
        """By service and name."""
        query = select(service_keys).order_by(service_keys.c.service, service_keys.c.name)
        if service is not None:
            query = query.where(service_keys.c.service == service)
        return self._all(query, mapping.service_key_from)

    def secret_names(self) -> list[str]:
        query = select(secrets.c.name).order_by(secrets.c.name)
        return list(self._connection.execute(query).scalars())

    def secret(self, name: str) -> bytes | None:
        """Its ciphertext."""
        query = select(secrets.c.ciphertext).where(secrets.c.name == name)
        return self._connection.execute(query).scalar_one_or_none()

    def route_version(self) -> int:
        """Of the newest route table; 0 if there was none."""
        query = select(counters.c.value).where(counters.c.name == ROUTE_VERSION)
        return self._connection.execute(query).scalar_one_or_none() or 0

    def _all(self, query: Select[Any], make: Callable[[Row[Any]], _T]) -> list[_T]:
        return [make(row) for row in self._connection.execute(query)]

    def _one(self, query: Select[Any], make: Callable[[Row[Any]], _T]) -> _T | None:
        row = self._connection.execute(query).one_or_none()
        return None if row is None else make(row)


def _page(
    query: Select[Any], table: Table, id_name: str, limit: int | None, before: str | None
) -> Select[Any]:
    """With ``limit`` the newest ``limit``.

    Without it the query has no order: with one, SQLite would scan all rows in the order of an
    index, instead of using the index of the condition.
    """
    made, row_id = table.c.created_at, table.c[id_name]
    if before is not None:
        cursor = select(made, row_id).where(row_id == before).scalar_subquery()
        query = query.where(tuple_(made, row_id) < cursor)
    if limit is None:
        return query
    return query.order_by(made.desc(), row_id.desc()).limit(limit)
