"""The gateway's route table, as the control plane writes it and the gateway reads it.

``$HEADRACE_HOME/gateway/routes.json`` is one JSON document of a `RouteTable`, replaced atomically
(written beside it and renamed). New fields have defaults, and readers ignore unknown fields, so
either side may be newer.
"""

import msgspec


class ReplicaRoute(msgspec.Struct, frozen=True):
    """One replica that takes requests."""

    replica_id: str
    host: str
    port: int
    """The port that it listens on, not the one that its revision declares."""


class TargetRoute(msgspec.Struct, frozen=True):
    """One revision's port, and its share of a service's traffic."""

    revision: int
    port: int
    """The port that the revision declares."""
    weight: int
    """Percent; the weights of a service's targets sum to 100."""
    replicas: tuple[ReplicaRoute, ...] = ()
    """Ready ones only. A replica is removed before it is stopped."""
    scales_from_zero: bool = False
    """Without a replica, requests of this target's share are queued instead of going elsewhere."""
    crash_backoff_until: float | None = None
    """Unix time of the revision's next start, while it is in a crash loop and has no replica."""


class Sticky(msgspec.Struct, frozen=True):
    """Requests with the same key go to the same target. Exactly one of the two is set."""

    header: str | None = None
    """Name of the header whose value is the key."""
    user: bool = False
    """The key is the body's ``user``."""


class Limits(msgspec.Struct, frozen=True):
    """The limits of one service at the gateway."""

    request_timeout_s: float = 3600.0
    """For a whole request, its stream included."""
    idle_timeout_s: float = 600.0
    """Between two parts of a response, and before the first."""
    max_body_bytes: int = 32 * 1024 * 1024
    max_concurrency: int | None = None
    """Requests in flight at replicas; more are queued. None: no limit."""
    max_queue: int = 1000
    """Requests in the queue; more get 429."""
    queue_timeout_s: float = 120.0
    """Time in the queue, after which a request gets 503."""


class ServiceRoute(msgspec.Struct, frozen=True):
    """How one service is routed."""

    name: str
    is_enabled: bool
    targets: tuple[TargetRoute, ...] = ()
    key_hashes: tuple[str, ...] = ()
    """SHA-256, in hex, of each API key; empty: no key is needed."""
    sticky: Sticky | None = None
    limits: Limits = Limits()
    forward_key: bool = False
    """Replicas get the header with the accepted API key."""


class RouteTable(msgspec.Struct, frozen=True):
    """The routes of all services."""

    version: int
    """Grows with every change; the gateway's stats have the version in use."""
    services: tuple[ServiceRoute, ...] = ()
