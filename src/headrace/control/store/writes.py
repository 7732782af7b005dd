"""The store's write transactions. Of the business rules, they enforce the state transitions only;
callers add the events.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Executable, Table, delete, insert, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import CursorResult

from headrace.control.errors import ConflictError, NotFoundError
from headrace.control.resources import (
    REPLICA_CHANGES,
    RUN_CHANGES,
    Event,
    Gateway,
    ProcessHandle,
    Replica,
    ReplicaState,
    Revision,
    RevisionPhase,
    Run,
    RunState,
    Service,
    ServiceKey,
    Token,
)
from headrace.control.store import mapping
from headrace.control.store.columns import storable
from headrace.control.store.history_queries import BlockTime, StoredBlock
from headrace.control.store.queries import ROUTE_VERSION, Queries
from headrace.control.store.retention_queries import GONE_STATES
from headrace.control.store.tables import (
    counters,
    events,
    gateways,
    history,
    replicas,
    revisions,
    runs,
    secrets,
    service_keys,
    services,
    tokens,
    usage,
    usage_baseline,
)
from headrace.control.store.usage_queries import COUNTS
from headrace.core.gateway.usage import GatewayUsage, UsageCounts, UsageKey


class Transaction(Queries):
    """A write transaction. There is one writer at a time, so what it reads stays valid."""

    def add_service(self, service: Service) -> None:
        """Raises ConflictError if there is one of that name."""
        if self.service(service.name) is not None:
            raise ConflictError(f"There is already a service '{service.name}'.")
        values = {"name": service.name, "created_at": service.created_at, "last_number": 0}
        self._execute(insert(services).values(values))

    def remove_service(self, name: str) -> None:
        """With its revisions, their history, replicas, gateway and keys; its events stay."""
        self._execute(delete(services).where(services.c.name == name))

    def add_revision(
        self, service: str, spec: dict[str, Any], num_desired: int, now: datetime
    ) -> Revision:
        """With the number after the highest that the service ever had."""
        number = self._connection.execute(
            update(services)
            .where(services.c.name == service)
            .values(last_number=services.c.last_number + 1)
            .returning(services.c.last_number)
        ).scalar_one_or_none()
        if number is None:
            raise NotFoundError(f"Service '{service}' not found.")
        revision = Revision(service, number, spec, RevisionPhase.ACTIVE, num_desired, now)
        self._execute(
            insert(revisions).values(
                service=service,
                number=number,
                spec=spec,
                phase=revision.phase.value,
                num_desired_replicas=num_desired,
                created_at=now,
            )
        )
        return revision

    def set_phase(self, service: str, number: int, phase: RevisionPhase) -> None:
        self._change_revision(service, number, {"phase": phase.value})

    def set_num_desired(self, service: str, number: int, num_desired: int) -> None:
        self._change_revision(service, number, {"num_desired_replicas": num_desired})

    def add_replica(self, replica: Replica) -> None:
        self._execute(insert(replicas).values(mapping.replica_values(replica)))

    def change_replica(
        self,
        replica_id: str,
        expected: ReplicaState,
        state: ReplicaState,
        now: datetime,
        *,
        cause: str | None = None,
        process: ProcessHandle | None = None,
        host_ports: Mapping[int, int] | None = None,
        log_path: str | None = None,
    ) -> bool:
        """False, without a change, if its state is no longer ``expected``.

        Values that are not given are unchanged. Raises ValueError for a transition that is not in
        REPLICA_CHANGES.
        """
        if state not in REPLICA_CHANGES[expected]:
            raise ValueError(f"Invalid transition of a replica: {expected} to {state}.")
        values: mapping.Values = {"state": state.value, "changed_at": now}
        if cause is not None:
            values["cause"] = cause
        if process is not None:
            values |= mapping.process_values(process)
        if host_ports is not None:
            values["host_ports"] = mapping.ports_value(dict(host_ports))
        if log_path is not None:
            values["log_path"] = log_path
        is_it = (replicas.c.replica_id == replica_id) & (replicas.c.state == expected.value)
        return self._change(replicas, is_it, values)

    def note_pending(
        self, replica_id: str, *, cause: str | None = None, gpus: Mapping[str, float] | None = None
    ) -> bool:
        """Record what it waits for, or its GPUs. False if it is no longer pending."""
        values: mapping.Values = {}
        if cause is not None:
            values["cause"] = cause
        if gpus is not None:
            values["gpus"] = dict(gpus)
        is_pending = replicas.c.state == ReplicaState.PENDING.value
        return self._change(replicas, (replicas.c.replica_id == replica_id) & is_pending, values)

    def set_replica_process(
        self,
        replica_id: str,
        process: ProcessHandle,
        *,
        host_ports: Mapping[int, int] | None = None,
        log_path: str | None = None,
    ) -> bool:
        """Record its process, in any state. False if there is no such replica."""
        values = mapping.process_values(process)
        if host_ports is not None:
            values["host_ports"] = mapping.ports_value(dict(host_ports))
        if log_path is not None:
            values["log_path"] = log_path
        return self._change(replicas, replicas.c.replica_id == replica_id, values)

    def remove_replicas(self, replica_ids: Collection[str]) -> int:
        """How many; live ones are not removed."""
        is_one = replicas.c.replica_id.in_(replica_ids) & replicas.c.state.in_(GONE_STATES)
        return self._execute(delete(replicas).where(is_one))

    def save_gateway(self, gateway: Gateway) -> None:
        """Insert or replace it."""
        values = mapping.gateway_values(gateway)
        is_it = gateways.c.service == gateway.service
        if not self._change(gateways, is_it, values):
            self._execute(insert(gateways).values(values))

    def add_run(self, run: Run) -> None:
        self._execute(insert(runs).values(mapping.run_values(run)))

    def change_run(
        self,
        run_id: str,
        expected: RunState,
        state: RunState,
        now: datetime,
        *,
        cause: str | None = None,
        process: ProcessHandle | None = None,
        host_ports: Mapping[int, int] | None = None,
        folder: str | None = None,
        exit_code: int | None = None,
        gpus: Mapping[str, float] | None = None,
    ) -> bool:
        """False, without a change, if its state is no longer ``expected``.

        Values that are not given are unchanged. ``state`` may equal ``expected``, unless that is
        final: then only the values are written. Raises ValueError for a transition that is not in
        RUN_CHANGES.
        """
        is_note = state is expected and bool(RUN_CHANGES[expected])
        if not is_note and state not in RUN_CHANGES[expected]:
            raise ValueError(f"Invalid transition of a run: {expected} to {state}.")
        values: mapping.Values = {} if is_note else {"state": state.value, "changed_at": now}
        if cause is not None:
            values["cause"] = cause
        if process is not None:
            values |= mapping.process_values(process)
        if host_ports is not None:
            values["host_ports"] = mapping.ports_value(dict(host_ports))
        if folder is not None:
            values["folder"] = folder
        if exit_code is not None:
            values["exit_code"] = exit_code
        if gpus is not None:
            values["gpus"] = dict(gpus)
        is_it = (runs.c.run_id == run_id) & (runs.c.state == expected.value)
        return self._change(runs, is_it, values)

    def remove_run(self, run_id: str) -> None:
        """With its events."""
        self._execute(delete(events).where(events.c.run_id == run_id))
        self._execute(delete(runs).where(runs.c.run_id == run_id))

    def add_event(self, event: Event) -> None:
        self._execute(insert(events).values(mapping.event_values(event)))

    def remove_events(self, event_ids: Collection[int]) -> int:
        """How many."""
        return self._execute(delete(events).where(events.c.event_id.in_(event_ids)))

    def add_usage(self, day: str, added: Mapping[UsageKey, UsageCounts]) -> None:
        """Add to the usage of a day."""
        is_sqlite = self._connection.dialect.name == "sqlite"
        statement = (sqlite if is_sqlite else postgresql).insert(usage)
        self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=list(usage.primary_key.columns),
                set_={one.name: one + statement.excluded[one.name] for one in COUNTS},
            ),
            [
                {
                    "day": day,
                    "service": key.service,
                    "key_name": key.key,
                    "model": storable(key.model),
                    **msgspec.structs.asdict(counts),
                }
                for key, counts in added.items()
            ],
        )

    def save_usage_baseline(self, added: GatewayUsage) -> None:
        """The counters that have been added."""
        totals = msgspec.to_builtins(added.totals)
        self._execute(delete(usage_baseline))
        self._execute(insert(usage_baseline).values(gateway_id=added.gateway_id, totals=totals))

    def remove_usage_before(self, day: str) -> None:
        self._execute(delete(usage).where(usage.c.day < day))

    def save_history(self, blocks: Sequence[StoredBlock]) -> None:
        """Insert or replace them."""
        if not blocks:
            return
        is_sqlite = self._connection.dialect.name == "sqlite"
        statement = (sqlite if is_sqlite else postgresql).insert(history)
        self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=list(history.primary_key.columns),
                set_={"samples": statement.excluded.samples},
            ),
            [
                {
                    "service": block.key.service,
                    "revision": block.key.number,
                    "step_s": block.step_s,
                    "begins_at": block.begins_at,
                    "samples": block.samples,
                }
                for block in blocks
            ],
        )

    def remove_history(self, time: BlockTime) -> int:
        """The blocks of all revisions that begin then; how many."""
        is_one = (history.c.step_s == time.step_s) & (history.c.begins_at == time.begins_at)
        return self._execute(delete(history).where(is_one))

    def add_token(self, token: Token, token_hash: str) -> None:
        """Raises ConflictError if there is one of that name."""
        if any(token.name == known.name for known in self.tokens()):
            raise ConflictError(f"There is already a token '{token.name}'.")
        self._execute(
            insert(tokens).values(
                name=token.name,
                role=token.role.value,
                token_hash=token_hash,
                created_at=token.created_at,
            )
        )

    def remove_token(self, name: str) -> bool:
        """False if there was none."""
        return self._execute(delete(tokens).where(tokens.c.name == name)) > 0

    def add_service_key(self, key: ServiceKey) -> None:
        """Raises ConflictError if the service has one of that name."""
        if any(key.name == known.name for known in self.service_keys(key.service)):
            raise ConflictError(f"Service '{key.service}' already has a key '{key.name}'.")
        self._execute(
            insert(service_keys).values(
                service=key.service,
                name=key.name,
                key_hash=key.key_hash,
                prefix=key.prefix,
                created_at=key.created_at,
            )
        )

    def remove_service_key(self, service: str, name: str) -> bool:
        """False if there was none."""
        is_it = (service_keys.c.service == service) & (service_keys.c.name == name)
        return self._execute(delete(service_keys).where(is_it)) > 0

    def put_secret(self, name: str, ciphertext: bytes, now: datetime) -> None:
        """Insert or replace it."""
        values = {"name": name, "ciphertext": ciphertext, "updated_at": now}
        if not self._change(secrets, secrets.c.name == name, values):
            self._execute(insert(secrets).values(values))

    def remove_secret(self, name: str) -> bool:
        """False if there was none."""
        return self._execute(delete(secrets).where(secrets.c.name == name)) > 0

    def next_route_version(self) -> int:
        """Increment and return the version."""
        version = self.route_version() + 1
        is_it = counters.c.name == ROUTE_VERSION
        if not self._change(counters, is_it, {"value": version}):
            self._execute(insert(counters).values(name=ROUTE_VERSION, value=version))
        return version

    def _change_revision(self, service: str, number: int, values: mapping.Values) -> None:
        is_it = (revisions.c.service == service) & (revisions.c.number == number)
        if not self._change(revisions, is_it, values):
            raise NotFoundError(f"Revision {number} of service '{service}' not found.")

    def _change(self, table: Table, is_it: ColumnElement[bool], values: mapping.Values) -> bool:
        """Whether any row matched."""
        return self._execute(update(table).where(is_it).values(values)) > 0

    def _execute(self, statement: Executable) -> int:
        """The number of matched rows."""
        result = self._connection.execute(statement)
        assert isinstance(result, CursorResult)
        return result.rowcount
