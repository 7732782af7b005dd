"""The gateway's route table, as the control plane writes it and the gateway reads it.

A format only: ``$HEADRACE_HOME/gateway/routes.json`` is one JSON document of a `RouteTable`,
replaced atomically (written to a temporary file, then renamed). New fields have defaults, and
readers ignore unknown fields, so that either side may be newer.
"""

import msgspec


class ReplicaRoute(msgspec.Struct, frozen=True):
    """One replica that takes requests."""

    replica_id: str
    host: str
    port: int
    """The port it listens on, which differs from the one that its revision declares."""


class TargetRoute(msgspec.Struct, frozen=True):
    """One revision's port, and its share of a service's traffic."""

    revision: int
    port: int
    """The port that the revision declares."""
    weight: int
    """Percent; the weights of a service's targets sum to 100."""
    replicas: tuple[ReplicaRoute, ...] = ()
    """Ready replicas only. A replica is removed before it gets SIGTERM."""
    scales_from_zero: bool = False
    """Without a ready replica, this target's requests wait for one and go to no other target."""
    crash_backoff_until: float | None = None
    """Unix time of the next start of a crash-looping revision that has no replica."""


class Sticky(msgspec.Struct, frozen=True):
    """Requests with the same key go to the same target. Exactly one of the two is set."""

    header: str | None = None
    """Name of the header whose value is the key."""
    user: bool = False
    """The key is the body's ``user``."""


class Limits(msgspec.Struct, frozen=True):
    """Limits of one service at the gateway."""

    request_timeout_s: float = 3600.0
    """Total time of a request, its stream included."""
    idle_timeout_s: float = 600.0
    """Time to the first chunk of a response, and between two chunks."""
    max_body_bytes: int = 32 * 1024 * 1024
    max_concurrency: int | None = None
    """Requests in flight at replicas; more wait. None: no limit."""
    max_queue: int = 1000
    """Requests that wait for a replica or a free place; more get 429."""
    queue_timeout_s: float = 120.0
    """Time that a request waits before it gets 503."""


class ServiceRoute(msgspec.Struct, frozen=True):
    """How requests reach one service."""

    name: str
    is_enabled: bool
    targets: tuple[TargetRoute, ...] = ()
    key_hashes: tuple[str, ...] = ()
    """SHA-256, in hex, of each accepted API key; empty: no key is needed."""
    sticky: Sticky | None = None
    limits: Limits = Limits()
    forward_key: bool = False
    """Forward the header with the accepted API key to replicas."""
    key_names: tuple[str, ...] = ()
    """The names of the keys, in the order of ``key_hashes``. Empty: they are not known."""


class RouteTable(msgspec.Struct, frozen=True):
    """All services at one moment."""

    version: int
    """Grows with every change; the gateway's stats report the one in use."""
    services: tuple[ServiceRoute, ...] = ()
