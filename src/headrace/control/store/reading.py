"""What can be asked of the store, as it was at one moment. Changes nothing."""

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Select, select

from headrace.control.resources import (
    REPLICA_CHANGES,
    RUN_CHANGES,
    Event,
    Gateway,
    Replica,
    Revision,
    Run,
    Service,
    ServiceKey,
    Token,
)
from headrace.control.store import rows
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

ROUTE_VERSION = "route_version"

_LIVE_STATES = sorted(state.value for state, next_ones in REPLICA_CHANGES.items() if next_ones)
_OPEN_RUN_STATES = sorted(state.value for state, next_ones in RUN_CHANGES.items() if next_ones)

_T = TypeVar("_T")


class Reading:
    """Queries of one database transaction; good until its ``with`` block ends."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def services(self) -> list[Service]:
        """By name."""
        return self._all(select(services).order_by(services.c.name), rows.service_from)

    def service(self, name: str) -> Service | None:
        return self._one(select(services).where(services.c.name == name), rows.service_from)

    def revisions(self, service: str | None = None) -> list[Revision]:
        """By service and number."""
        query = select(revisions).order_by(revisions.c.service, revisions.c.number)
        if service is not None:
            query = query.where(revisions.c.service == service)
        return self._all(query, rows.revision_from)

    def revision(self, service: str, number: int) -> Revision | None:
        query = select(revisions).where(
            revisions.c.service == service, revisions.c.number == number
        )
        return self._one(query, rows.revision_from)

    def replicas(
        self, service: str | None = None, revision: int | None = None, live_only: bool = False
    ) -> list[Replica]:
        """Oldest first; ``live_only`` leaves out those that are gone."""
        query = select(replicas).order_by(replicas.c.created_at, replicas.c.replica_id)
        if service is not None:
            query = query.where(replicas.c.service == service)
        if revision is not None:
            query = query.where(replicas.c.revision == revision)
        if live_only:
            query = query.where(replicas.c.state.in_(_LIVE_STATES))
        return self._all(query, rows.replica_from)

    def replica(self, replica_id: str) -> Replica | None:
        query = select(replicas).where(replicas.c.replica_id == replica_id)
        return self._one(query, rows.replica_from)

    def gateways(self) -> list[Gateway]:
        """By service."""
        return self._all(select(gateways).order_by(gateways.c.service), rows.gateway_from)

    def gateway(self, service: str) -> Gateway | None:
        return self._one(select(gateways).where(gateways.c.service == service), rows.gateway_from)

    def runs(self, open_only: bool = False) -> list[Run]:
        """Oldest first; ``open_only`` leaves out those that are over."""
        query = select(runs).order_by(runs.c.created_at, runs.c.run_id)
        if open_only:
            query = query.where(runs.c.state.in_(_OPEN_RUN_STATES))
        return self._all(query, rows.run_from)

    def run(self, run_id: str) -> Run | None:
        return self._one(select(runs).where(runs.c.run_id == run_id), rows.run_from)

    def taken_ports(self, except_run_id: str | None = None) -> set[int]:
        """Host ports that replicas and runs have, leaving out what is gone or over."""
        holders: list[Replica | Run] = [
            *self.replicas(live_only=True),
            *(run for run in self.runs(open_only=True) if run.run_id != except_run_id),
        ]
        return {port for holder in holders for port in holder.host_ports.values()}

    def events(
        self,
        service: str | None = None,
        run_id: str | None = None,
        limit: int = 100,
        after_id: int | None = None,
    ) -> list[Event]:
        """Oldest first: the newest ``limit`` of them, or the first ``limit`` after ``after_id``.

        Ids come in the order of commits, so whoever asks again with the last id misses none.
        """
        query = select(events).limit(limit)
        if service is not None:
            query = query.where(events.c.service == service)
        if run_id is not None:
            query = query.where(events.c.run_id == run_id)
        if after_id is not None:
            query = query.where(events.c.event_id > after_id).order_by(events.c.event_id)
            return self._all(query, rows.event_from)
        newest_first = self._all(query.order_by(events.c.event_id.desc()), rows.event_from)
        return newest_first[::-1]

    def tokens(self) -> list[Token]:
        """By name."""
        return self._all(select(tokens).order_by(tokens.c.name), rows.token_from)

    def token_by_hash(self, token_hash: str) -> Token | None:
        return self._one(select(tokens).where(tokens.c.token_hash == token_hash), rows.token_from)

    def service_keys(self, service: str | None = None) -> list[ServiceKey]:
        """By service and name."""
        query = select(service_keys).order_by(service_keys.c.service, service_keys.c.name)
        if service is not None:
            query = query.where(service_keys.c.service == service)
        return self._all(query, rows.service_key_from)

    def secret_names(self) -> list[str]:
        query = select(secrets.c.name).order_by(secrets.c.name)
        return list(self._connection.execute(query).scalars())

    def secret(self, name: str) -> bytes | None:
        """Its ciphertext."""
        query = select(secrets.c.ciphertext).where(secrets.c.name == name)
        return self._connection.execute(query).scalar_one_or_none()

    def route_version(self) -> int:
        """Of the newest route table; 0 before there was one."""
        query = select(counters.c.value).where(counters.c.name == ROUTE_VERSION)
        return self._connection.execute(query).scalar_one_or_none() or 0

    def _all(self, query: Select[Any], make: Callable[[Row[Any]], _T]) -> list[_T]:
        return [make(row) for row in self._connection.execute(query)]

    def _one(self, query: Select[Any], make: Callable[[Row[Any]], _T]) -> _T | None:
        row = self._connection.execute(query).one_or_none()
        return None if row is None else make(row)
