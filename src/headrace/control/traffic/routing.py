"""The gateway's route table: made from what the store says, and written where the gateway reads it.

Knows the format's module and one file; knows neither the store nor the gateway.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from headrace.control.private_file import write_private
from headrace.control.resources import (
    Gateway,
    Replica,
    ReplicaState,
    ServiceKey,
    Target,
)
from headrace.core.routes import (
    Limits,
    ReplicaRoute,
    RouteTable,
    ServiceRoute,
    Sticky,
    TargetRoute,
)

_T = TypeVar("_T")

REPLICA_HOST = "127.0.0.1"


def service_route(
    name: str,
    gateway: Gateway | None,
    replicas: Iterable[Replica],
    keys: Iterable[ServiceKey],
    scales_from_zero: Mapping[int, bool],
    backoff_until: Mapping[int, datetime],
) -> ServiceRoute:
    """One service's way in: its applied targets, each with its ready replicas.

    ``backoff_until`` has the revisions that wait for their next start after crashes. The order of
    everything depends on the state alone, so that the same state gives an equal table.
    """
    if gateway is None:
        return ServiceRoute(name=name, is_enabled=False)
    ready = sorted(
        (replica for replica in replicas if replica.state is ReplicaState.READY),
        key=lambda replica: replica.replica_id,
    )
    return ServiceRoute(
        name=name,
        is_enabled=gateway.is_enabled,
        targets=tuple(
            _target_route(
                target,
                ready,
                scales_from_zero.get(target.number, False),
                backoff_until.get(target.number),
            )
            for target in gateway.applied_targets
        ),
        key_hashes=tuple(sorted(key.key_hash for key in keys)),
        sticky=_option(gateway.options, "sticky", Sticky),
        limits=limits_of(gateway),
        forward_key=_option(gateway.options, "forward_key", bool) or False,
    )


def limits_of(gateway: Gateway) -> Limits:
    """What was asked for, and the gateway's own defaults for the rest."""
    return _option(gateway.options, "limits", Limits) or Limits()


def routed_replicas(services: Iterable[ServiceRoute]) -> frozenset[str]:
    """Ids of all replicas that may be sent requests."""
    return frozenset(
        replica.replica_id
        for service in services
        for target in service.targets
        for replica in target.replicas
    )


class RouteFile:
    """``gateway/routes.json``: replaced whole, readable by its owner alone (it has hashes)."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> RouteTable | None:
        """The table as it was written last; None if there is none that can be read."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=RouteTable)
        except (OSError, msgspec.MsgspecError):
            return None

    def write(self, table: RouteTable) -> None:
        """Raises OSError if it cannot be written; the old table is then still there."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(self._path, msgspec.json.encode(table).decode())


def _target_route(
    target: Target,
    ready: Sequence[Replica],
    scales_from_zero: bool,
    backoff_until: datetime | None,
) -> TargetRoute:
    return TargetRoute(
        revision=target.number,
        port=target.port,
        weight=target.weight,
        replicas=tuple(
            ReplicaRoute(replica.replica_id, REPLICA_HOST, replica.host_ports[target.port])
            for replica in ready
            if replica.revision == target.number and target.port in replica.host_ports
        ),
        scales_from_zero=scales_from_zero,
        crash_backoff_until=None if backoff_until is None else backoff_until.timestamp(),
    )


def _option(options: Mapping[str, Any], name: str, kind: type[_T]) -> _T | None:
    value = options.get(name)
    return None if value is None else msgspec.convert(value, kind)
