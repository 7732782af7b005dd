"""The gateway's statistics, which the control plane reads to scale and to drain.

``GET /stats`` on the gateway's admin port returns one `GatewayStats` as JSON.
"""

import msgspec

TTFT_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the buckets of `RevisionStats.ttft_counts`, in seconds; one more bucket counts
longer times."""


INTER_TOKEN_BUCKETS_S = (
    *(0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 10.0),
)
"""Upper bounds of the buckets of `RevisionStats.inter_token_counts`, in seconds; one more bucket
counts longer times."""


class ReplicaStats(msgspec.Struct, frozen=True):
    """One replica, listed as long as it is in the route table or has requests in flight."""

    num_outstanding: int
    """Requests in flight there."""
    num_requests_total: int
    num_failures_total: int
    """Refused or broken connections, 502, 503 and 504 responses, and timeouts."""
    is_ejected: bool
    """It failed or does not respond, and gets no requests until it responds to a probe."""
    heard_age_s: float | None = None
    """Seconds since the last byte from it, probe responses included. None: never."""


class RevisionStats(msgspec.Struct, frozen=True):
    """One revision of one service; ``_total`` since the gateway started."""

    num_waiting: int
    """Requests that wait for a replica or for a free place."""
    num_outstanding: int
    num_requests_total: int
    ttft_counts: tuple[int, ...]
    """Responses by time to first byte, from the request's arrival, waiting included."""
    last_request_age_s: float | None
    """Seconds since the last request arrived; None if none did."""
    num_responses_total: int = 0
    """Requests that have ended."""
    num_errors_total: int = 0
    """Of them: 5xx, and streams that were cut or ended with an error event."""
    num_retries_total: int = 0
    num_prompt_tokens_total: int = 0
    """This and the next two are from the ``usage`` of responses. Streams have it only if the client
    asks with ``stream_options.include_usage``."""
    num_completion_tokens_total: int = 0
    num_cached_tokens_total: int = 0
    """Prompt tokens that were in a replica's prefix cache."""
    stream_ttft_counts: tuple[int, ...] = ()
    """Event streams by time to first byte, from the request's arrival, waiting included; the
    buckets are `TTFT_BUCKETS_S`."""
    inter_token_counts: tuple[int, ...] = ()
    """Times between two chunks of an event stream."""
    num_queued_total: int = 0
    """Requests that waited, of those that have ended."""
    queued_s_total: float = 0.0
    """Seconds that they waited, all together."""


class QuarantinedRequest(msgspec.Struct, frozen=True):
    """A request whose repetitions are rejected because it crashes replicas. Not its text."""

    service: str
    digest: str
    """The first digits, in hex, of the SHA-256 of its method, path and body."""
    revisions: tuple[int, ...]
    """The revisions whose replicas crashed, and to which it is not sent."""
    num_replicas: int
    """Replicas that crashed."""
    refused_s: float
    """Seconds for which repetitions are still rejected."""


class GatewayStats(msgspec.Struct, frozen=True):
    """All statistics of the gateway at one moment."""

    routes_version: int
    """Version of the route table in use."""
    uptime_s: float
    replicas: dict[str, ReplicaStats]
    """By replica id."""
    revisions: dict[str, RevisionStats]
    """By ``SERVICE/NUMBER``."""
    quarantined: tuple[QuarantinedRequest, ...] = ()
