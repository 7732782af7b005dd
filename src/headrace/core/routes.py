"""The gateway's route table, as the control plane writes it and the gateway reads it.

A format only: ``$HEADRACE_HOME/gateway/routes.json`` is one JSON document of a `RouteTable`,
replaced whole (written beside it and renamed), so that the gateway never sees half of one. What is
added to it has a default, and what a reader does not know it leaves out, so that either side may be
newer. Knows neither the control plane nor the gateway.
"""

import msgspec


class ReplicaRoute(msgspec.Struct, frozen=True):
    """One replica that may be sent requests."""

    replica_id: str
    host: str
    port: int
    """Where it listens, which is not the port that its revision declares."""


class TargetRoute(msgspec.Struct, frozen=True):
    """One revision's port, and its share of a service's traffic."""

    revision: int
    port: int
    """As the revision declares it."""
    weight: int
    """Percent; the weights of a service's targets sum to 100."""
    replicas: tuple[ReplicaRoute, ...] = ()
    """Ready ones only. A replica leaves this list before it is told to stop."""
    scales_from_zero: bool = False
    """With no replica, requests of this target's share wait for one instead of going elsewhere."""
    crash_backoff_until: float | None = None
    """Unix time at which the revision is started again, which keeps crashing and has no replica."""


class Sticky(msgspec.Struct, frozen=True):
    """Requests with the same key go to the same target. Exactly one of the two is set."""

    header: str | None = None
    """Name of the header whose value is the key."""
    user: bool = False
    """The key is the body's ``user``."""


class Limits(msgspec.Struct, frozen=True):
    """What a service's gateway bears."""

    request_timeout_s: float = 3600.0
    """A request's whole life, its stream included."""
    idle_timeout_s: float = 600.0
    """Between two pieces of an answer, and before the first."""
    max_body_bytes: int = 32 * 1024 * 1024
    max_concurrency: int | None = None
    """Requests under way at replicas; more wait. None: no limit."""
    max_queue: int = 1000
    """Requests that wait for a replica, or for their turn; more get 429."""
    queue_timeout_s: float = 120.0
    """How long one waits before it gets 503."""


class ServiceRoute(msgspec.Struct, frozen=True):
    """One service's way in."""

    name: str
    is_enabled: bool
    targets: tuple[TargetRoute, ...] = ()
    key_hashes: tuple[str, ...] = ()
    """SHA-256, in hex, of each API key that opens it; empty: open to all."""
    sticky: Sticky | None = None
    limits: Limits = Limits()
    forward_key: bool = False
    """Replicas get the header with the API key that the gateway has accepted."""


class RouteTable(msgspec.Struct, frozen=True):
    """All services, at one moment."""

    version: int
    """Grows with every change; the gateway's stats say which one it follows."""
    services: tuple[ServiceRoute, ...] = ()
