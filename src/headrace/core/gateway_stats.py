"""The gateway's statistics, which the control plane uses to scale and to drain.

``GET /stats`` on the gateway's admin port returns one `GatewayStats` as JSON.
"""

import msgspec

TTFT_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper edges of the buckets of `RevisionStats.ttft_counts`; one more bucket is above the last."""


class ReplicaStats(msgspec.Struct, frozen=True):
    """One replica, listed as long as it is routed to or has requests."""

    num_outstanding: int
    """Requests in flight."""
    num_requests_total: int
    num_failures_total: int
    """Connections refused or cut, responses 502, 503 and 504, and timeouts."""
    is_ejected: bool
    """It failed or is unresponsive, and gets no requests until it recovers."""
    heard_age_s: float | None = None
    """Since anything was received from it, responses to probes included. None: never."""


class RevisionStats(msgspec.Struct, frozen=True):
    """One revision of one service; ``_total`` since the gateway started."""

    num_waiting: int
    """Requests in the queue."""
    num_outstanding: int
    num_requests_total: int
    ttft_counts: tuple[int, ...]
    """Responses by time from the request's arrival to their first byte, queueing included."""
    last_request_age_s: float | None
    """Since the last request arrived; None: never."""


class QuarantinedRequest(msgspec.Struct, frozen=True):
    """A request that is blocked because it crashes replicas; nothing of its text."""

    service: str
    digest: str
    """The first digits, in hex, of the SHA-256 of its method, path and body."""
    revisions: tuple[int, ...]
    """Those whose replicas died; it is blocked there."""
    num_replicas: int
    """The number of replicas that died."""
    refused_s: float
    """For how much longer it is blocked."""


class GatewayStats(msgspec.Struct, frozen=True):
    """The whole gateway at one moment."""

    routes_version: int
    """Of the route table in use."""
    uptime_s: float
    replicas: dict[str, ReplicaStats]
    """By replica id."""
    revisions: dict[str, RevisionStats]
    """By ``SERVICE/NUMBER``."""
    quarantined: tuple[QuarantinedRequest, ...] = ()
