"""Builders of route tables."""

from headrace.core.gateway.routes import (
    Limits,
    ReplicaRoute,
    RouteTable,
    ServiceRoute,
    Sticky,
    TargetRoute,
)


def replica_route(number: int, port: int | None = None) -> ReplicaRoute:
    """A replica named after its number, on its own port unless one is given."""
    return ReplicaRoute(f"r{number}", "127.0.0.1", 20000 + number if port is None else port)


def target_route(
    revision: int,
    weight: int,
    replicas: tuple[int, ...] = (),
    *,
    scales_from_zero: bool = False,
    crash_backoff_until: float | None = None,
) -> TargetRoute:
    """A revision's port 3000, served by the replicas of these numbers."""
    return TargetRoute(
        revision,
        3000,
        weight,
        tuple(replica_route(number) for number in replicas),
        scales_from_zero,
        crash_backoff_until,
    )


def service_route(
    *targets: TargetRoute,
    name: str = "openllm",
    is_enabled: bool = True,
    key_hashes: tuple[str, ...] = (),
    sticky: Sticky | None = None,
    limits: Limits | None = None,
) -> ServiceRoute:
    """An enabled service that is open to all."""
    return ServiceRoute(name, is_enabled, targets, key_hashes, sticky, limits or Limits())


def route_table(*services: ServiceRoute, version: int = 1) -> RouteTable:
    """A table of these services."""
    return RouteTable(version, services)
