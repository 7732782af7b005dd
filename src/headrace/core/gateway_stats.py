"""What the gateway tells of itself, as the control plane reads it to scale and to drain.

A format only: ``GET /stats`` at the gateway's admin address answers with one `GatewayStats`.
"""

import msgspec

TTFT_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper edges of the buckets of `RevisionStats.ttft_counts`; one more counts what is above."""


class ReplicaStats(msgspec.Struct, frozen=True):
    """One replica as the gateway sees it, listed as long as it is routed to or has work left."""

    num_outstanding: int
    """Requests under way there now."""
    num_requests_total: int
    num_failures_total: int
    """Connections refused or cut, answers 502, 503 and 504, and time-outs."""
    is_ejected: bool
    """It failed, or is silent, and gets no requests until it answers."""
    heard_age_s: float | None = None
    """Since anything came from it, answers to the gateway's own probes too. None: never."""


class RevisionStats(msgspec.Struct, frozen=True):
    """One revision of one service; ``_total`` since the gateway started."""

    num_waiting: int
    """Requests held until a replica is there, or until their turn comes."""
    num_outstanding: int
    num_requests_total: int
    ttft_counts: tuple[int, ...]
    """Answers by time to their first byte, from the request's arrival, waiting included."""
    last_request_age_s: float | None
    """Since the last request came; None if none ever did."""


class QuarantinedRequest(msgspec.Struct, frozen=True):
    """A request whose copies are refused since it crashes replicas; nothing of its text."""

    service: str
    digest: str
    """The first digits, in hex, of the SHA-256 of its method, path and body."""
    revisions: tuple[int, ...]
    """Whose replicas died, and which it is kept from."""
    num_replicas: int
    """That died."""
    refused_s: float
    """For how much longer copies are refused."""


class GatewayStats(msgspec.Struct, frozen=True):
    """The whole gateway now."""

    routes_version: int
    """Of the route table that it follows."""
    uptime_s: float
    replicas: dict[str, ReplicaStats]
    """By replica id."""
    revisions: dict[str, RevisionStats]
    """By ``SERVICE/NUMBER``."""
    quarantined: tuple[QuarantinedRequest, ...] = ()
