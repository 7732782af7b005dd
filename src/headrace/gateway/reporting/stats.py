"""The gateway's figures in the format of core/gateway/stats.py."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

from headrace.core.gateway.stats import (
    INTER_TOKEN_BUCKETS_S,
    TTFT_BUCKETS_S,
    GatewayStats,
    QuarantinedRequest,
    ReplicaStats,
    RevisionStats,
)
from headrace.gateway.routing.counters import Histogram, RevisionCounts, TrafficCounts
from headrace.gateway.routing.router import Router
from headrace.gateway.routing.topology import ReplicaEndpoint, ServiceState

NUM_DIGEST_DIGITS = 12
"""Enough to identify a request whose text is known."""


def gateway_stats(router: Router, now: float) -> GatewayStats:
    """The figures at this moment."""
    services, replicas = router.services.values(), router.replicas.values()
    return GatewayStats(
        routes_version=router.routes_version,
        uptime_s=now - router.started_at,
        replicas=_replica_stats(replicas, now),
        revisions={
            f"{service.name}/{revision}": _revision_stats(
                counts,
                traffic.get(revision, ()),
                num_outstanding(service, revision, replicas),
                now,
            )
            for service in services
            for traffic in (_by_revision(service),)
            for revision, counts in service.counts.items()
        },
        quarantined=tuple(
            QuarantinedRequest(
                service=service.name,
                digest=suspect.digest.hex()[:NUM_DIGEST_DIGITS],
                revisions=suspect.revisions,
                num_replicas=suspect.num_deaths,
                refused_s=suspect.blocked_s(now),
            )
            for service in services
            for suspect in service.quarantine.quarantined(now)
        ),
    )


def num_outstanding(
    service: ServiceState, revision: int, replicas: Collection[ReplicaEndpoint]
) -> int:
    """Requests at the replicas of one revision, including those that have left the table."""
    return sum(
        replica.num_outstanding
        for replica in replicas
        if replica.target.service is service and replica.revision == revision
    )


def _by_revision(service: ServiceState) -> dict[int | None, list[TrafficCounts]]:
    found: dict[int | None, list[TrafficCounts]] = {}
    for (revision, _, _), counts in service.traffic.items():
        found.setdefault(revision, []).append(counts)
    return found


def _replica_stats(replicas: Collection[ReplicaEndpoint], now: float) -> dict[str, ReplicaStats]:
    """One entry for each replica, also if several of its ports are routed to."""
    by_id: dict[str, ReplicaStats] = {}
    received_at: dict[str, float] = {}
    for replica in replicas:
        last = max(replica.last_received_at, received_at.get(replica.replica_id, -math.inf))
        received_at[replica.replica_id] = last
        other = by_id.get(replica.replica_id, ReplicaStats(0, 0, 0, False))
        by_id[replica.replica_id] = ReplicaStats(
            num_outstanding=other.num_outstanding + replica.num_outstanding,
            num_requests_total=other.num_requests_total + replica.num_requests_total,
            num_failures_total=other.num_failures_total + replica.num_failures_total,
            is_ejected=other.is_ejected or replica.is_ejected,
            heard_age_s=None if last == -math.inf else now - last,
        )
    return by_id


def _revision_stats(
    counts: RevisionCounts, traffic: Sequence[TrafficCounts], outstanding: int, now: float
) -> RevisionStats:
    """``traffic``: the counters of its requests, by key and model."""
    last = counts.last_request_at
    return RevisionStats(
        num_waiting=counts.num_waiting,
        num_outstanding=outstanding,
        num_requests_total=counts.num_requests_total,
        ttft_counts=tuple(counts.ttft.counts),
        last_request_age_s=None if last is None else now - last,
        num_responses_total=sum(sum(one.responses.values()) for one in traffic),
        num_errors_total=sum(one.num_failed for one in traffic),
        num_retries_total=sum(one.num_retries for one in traffic),
        num_prompt_tokens_total=sum(one.num_prompt_tokens for one in traffic),
        num_completion_tokens_total=sum(one.num_completion_tokens for one in traffic),
        num_cached_tokens_total=sum(one.num_cached_tokens for one in traffic),
        stream_ttft_counts=_summed(TTFT_BUCKETS_S, [one.stream_ttft for one in traffic]),
        inter_token_counts=_summed(INTER_TOKEN_BUCKETS_S, [one.inter_token for one in traffic]),
        num_queued_total=sum(sum(one.queue.counts) for one in traffic),
        queued_s_total=sum(one.queue.sum_s for one in traffic),
    )


def _summed(edges: Sequence[float], histograms: Iterable[Histogram]) -> tuple[int, ...]:
    """The counts of all of them, whose edges these are."""
    counts = [0] * (len(edges) + 1)
    for histogram in histograms:
        for index, count in enumerate(histogram.counts):
            counts[index] += count
    return tuple(counts)
