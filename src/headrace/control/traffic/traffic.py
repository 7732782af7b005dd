"""Rolls out gateways' targets and writes the route table, if it has changed."""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from headrace.control.log_on_change import ChangeLogger
from headrace.control.replicas.backoff import is_loop, next_start_at
from headrace.control.replicas.crash_history import CrashHistory
from headrace.control.replicas.reconciler import GOING_UP
from headrace.control.resources import (
    Event,
    EventReason,
    Gateway,
    ReplicaState,
    RevisionPhase,
    ServiceKey,
)
from headrace.control.snapshot import Snapshot, SpecCache
from headrace.control.store.store import Store
from headrace.control.traffic.rollout import RevisionReadiness, Rollout, apply_targets
from headrace.control.traffic.routing import RouteFile, routed_replicas, service_route
from headrace.core.gateway.routes import RouteTable, ServiceRoute

logger = logging.getLogger("headrace.control")

DashboardKey = Callable[[str], ServiceKey]
"""The key that a service accepts, in addition to its own, from the dashboard."""


class Traffic:
    """Holds the route table that is on disk."""

    def __init__(
        self,
        store: Store,
        specs: SpecCache,
        crashes: CrashHistory,
        path: Path,
        clock: Callable[[], datetime],
        dashboard_key: DashboardKey | None = None,
    ) -> None:
        self._store = store
        self._specs = specs
        self._crashes = crashes
        self._file = RouteFile(path)
        self._clock = clock
        self._dashboard_key = dashboard_key
        self._table = self._file.read()
        """As on disk. None: there is none."""
        self._log = ChangeLogger(logger)

    @property
    def version(self) -> int:
        """Of the table on disk; 0 if there is none."""
        return 0 if self._table is None else self._table.version

    @property
    def routed(self) -> frozenset[str]:
        """Ids of the replicas in the table on disk."""
        return frozenset() if self._table is None else routed_replicas(self._table.services)

    def run_pass(self, snapshot: Snapshot) -> bool:
        """Roll out what is ready, then write the table; True if it changed.

        Uses the database and the disk: call it in a thread.
        """
        gateways = {
            gateway.service: self._roll_out(gateway, snapshot) for gateway in snapshot.gateways
        }
        services = tuple(
            route
            for service in sorted(snapshot.services, key=lambda one: one.name)
            if (route := self._route(service.name, snapshot, gateways)) is not None
        )
        if self._table is not None and self._table.services == services:
            return False
        table = RouteTable(version=self._next_version(), services=services)
        self._file.write(table)
        self._table = table
        return True

    def _roll_out(self, gateway: Gateway, snapshot: Snapshot) -> Gateway:
        part = f"gateway {gateway.service}"
        try:
            rollout = apply_targets(gateway, self._readiness(gateway.service, snapshot))
            moved = self._save(gateway, rollout)
        except Exception as error:  # an error of one gateway must not affect the others
            self._log.failed(part, f"{type(error).__name__}: {error}")
            return gateway
        self._log.succeeded(part)
        return moved

    def _readiness(self, service: str, snapshot: Snapshot) -> Mapping[int, RevisionReadiness]:
        readiness = {}
        for revision in snapshot.revisions:
            if revision.service != service:
                continue
            key = revision.key
            spec = self._specs.of(revision)
            crashes = self._crashes.of(key)
            states = [replica.state for replica in snapshot.replicas_of(key)]
            readiness[revision.number] = RevisionReadiness(
                phase=revision.phase,
                num_ready=states.count(ReplicaState.READY),
                scales_from_zero=spec is not None and spec.autoscaling.min == 0,
                crash_cause=(
                    crashes.cause
                    if crashes is not None and is_loop(crashes, self._crashes.backoff)
                    else None
                ),
            )
        return readiness

    def _save(self, gateway: Gateway, rollout: Rollout) -> Gateway:
        """Write the rollout, unless the gateway has changed since the snapshot."""
        moved = Gateway(
            service=gateway.service,
            is_enabled=gateway.is_enabled,
            targets=gateway.targets,
            applied_targets=rollout.applied_targets,
            status=rollout.status,
            message=rollout.message,
            options=gateway.options,
            updated_at=gateway.updated_at,
        )
        if moved == gateway:
            return gateway
        with self._store.begin() as tx:
            if tx.gateway(gateway.service) != gateway:
                return gateway
            tx.save_gateway(moved)
            tx.add_event(
                Event(
                    at=self._clock(),
                    subject=f"gateway {gateway.service}",
                    what=(
                        EventReason.TRAFFIC_SHIFTED
                        if rollout.applied_targets != gateway.applied_targets
                        else EventReason.STATUS_CHANGED
                    ),
                    why=_why(gateway, rollout),
                    service=gateway.service,
                )
            )
        return moved

    def _route(
        self, name: str, snapshot: Snapshot, gateways: Mapping[str, Gateway]
    ) -> ServiceRoute | None:
        """The service's route, or the previous one if it cannot be built."""
        part = f"route of {name}"
        try:
            route = service_route(
                name,
                gateways.get(name),
                [replica for replica in snapshot.replicas if replica.service == name],
                self._keys(name, snapshot),
                self._zero_scaled(name, snapshot),
                self._backoffs(name, snapshot),
            )
        except Exception as error:
            self._log.failed(part, f"{type(error).__name__}: {error}")
            before = () if self._table is None else self._table.services
            return next((known for known in before if known.name == name), None)
        self._log.succeeded(part)
        return route

    def _keys(self, service: str, snapshot: Snapshot) -> list[ServiceKey]:
        """Empty if it requires none."""
        keys = [key for key in snapshot.keys if key.service == service]
        if keys and self._dashboard_key is not None:
            keys.append(self._dashboard_key(service))
        return keys

    def _zero_scaled(self, service: str, snapshot: Snapshot) -> Mapping[int, bool]:
        found = {}
        for revision in snapshot.revisions:
            if revision.service == service and revision.phase is RevisionPhase.ACTIVE:
                spec = self._specs.of(revision)
                found[revision.number] = spec is not None and spec.autoscaling.min == 0
        return found

    def _backoffs(self, service: str, snapshot: Snapshot) -> Mapping[int, datetime]:
        """When crash-looping revisions without a replica will be restarted."""
        now = self._clock()
        found = {}
        for revision in snapshot.revisions:
            if revision.service != service:
                continue
            key = revision.key
            crashes = self._crashes.of(key)
            if crashes is None or not is_loop(crashes, self._crashes.backoff):
                continue
            until = next_start_at(crashes, self._crashes.backoff)
            if now < until and not any(one.state in GOING_UP for one in snapshot.replicas_of(key)):
                found[revision.number] = until
        return found

    def _next_version(self) -> int:
        """Higher than any version that the gateway may have, even with a new database."""
        with self._store.begin() as tx:
            version = tx.next_route_version()
            while version <= self.version:
                version = tx.next_route_version()
        return version


def _why(gateway: Gateway, rollout: Rollout) -> str:
    message = rollout.message or "All requested targets are ready."
    if rollout.applied_targets == gateway.applied_targets:
        return f"Status: {rollout.status}. {message}"
    shares = ", ".join(
        f"{one.weight}% revision {one.number} (port {one.port})" for one in rollout.applied_targets
    )
    return f"Traffic: {shares or 'no targets'}. {message}"
