"""Builds the gateway's route table from resources, and reads and writes its file."""

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
from headrace.core.gateway.routes import (
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
    """One service's route: its applied targets, each with its ready replicas.

    ``backoff_until``: the next start of crash-looping revisions. The order depends on the state
    alone, so that equal states give equal tables.
    """
    if gateway is None:
        return ServiceRoute(name=name, is_enabled=False)
    keys = sorted(keys, key=lambda key: key.key_hash)
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
        key_hashes=tuple(key.key_hash for key in keys),
        sticky=_option(gateway.options, "sticky", Sticky),
        limits=limits_of(gateway),
        forward_key=_option(gateway.options, "forward_key", bool) or False,
        key_names=tuple(key.name for key in keys),
    )


def limits_of(gateway: Gateway) -> Limits:
    """The configured limits, with the gateway's defaults for the rest."""
    return _option(gateway.options, "limits", Limits) or Limits()


def routed_replicas(services: Iterable[ServiceRoute]) -> frozenset[str]:
    """Ids of all replicas that can get requests."""
    return frozenset(
        replica.replica_id
        for service in services
        for target in service.targets
        for replica in target.replicas
    )


class RouteFile:
    """``gateway/routes.json``: replaced atomically, mode 0600 (it contains hashes of keys)."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> RouteTable | None:
        """The last table written; None if there is none, or it is unreadable."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=RouteTable)
        except (OSError, msgspec.MsgspecError):
            return None

    def write(self, table: RouteTable) -> None:
        """Raises OSError if it cannot be written; the old table is then unchanged."""
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
