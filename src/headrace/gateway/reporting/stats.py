"""The gateway's own figures in the format of core/gateway_stats.py.

Knows neither HTTP nor Prometheus.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING

from headrace.core.gateway_stats import (
    GatewayStats,
    QuarantinedRequest,
    ReplicaStats,
    RevisionStats,
)

if TYPE_CHECKING:
    from headrace.gateway.routing.replica import Replica
    from headrace.gateway.routing.topology import RevisionCounts, ServiceState


NUM_DIGEST_DIGITS = 12
"""Enough to tell requests apart, and to find one again whose text is known."""


def gateway_stats(
    services: Collection[ServiceState],
    replicas: Collection[Replica],
    *,
    routes_version: int,
    uptime_s: float,
    now: float,
) -> GatewayStats:
    """Everything as it is now."""
    return GatewayStats(
        routes_version=routes_version,
        uptime_s=uptime_s,
        replicas=_replica_stats(replicas, now),
        revisions={
            f"{service.name}/{revision}": _revision_stats(
                counts, num_outstanding(service, revision, replicas), now
            )
            for service in services
            for revision, counts in service.counts.items()
        },
        quarantined=tuple(
            QuarantinedRequest(
                service=service.name,
                digest=suspect.digest.hex()[:NUM_DIGEST_DIGITS],
                revisions=suspect.revisions,
                num_replicas=suspect.num_deaths,
                refused_s=suspect.refused_s(now),
            )
            for service in services
            for suspect in service.quarantine.quarantined(now)
        ),
    )


def num_outstanding(service: ServiceState, revision: int, replicas: Collection[Replica]) -> int:
    """Requests under way at one revision, at replicas that have left the table too."""
    return sum(
        replica.num_outstanding
        for replica in replicas
        if replica.target.service is service and replica.revision == revision
    )


def _replica_stats(replicas: Collection[Replica], now: float) -> dict[str, ReplicaStats]:
    """A replica that is routed to at several of its ports is one replica here."""
    by_id: dict[str, ReplicaStats] = {}
    heard_at: dict[str, float] = {}
    for replica in replicas:
        last = max(replica.heard_at, heard_at.get(replica.replica_id, -math.inf))
        heard_at[replica.replica_id] = last
        other = by_id.get(replica.replica_id, ReplicaStats(0, 0, 0, False))
        by_id[replica.replica_id] = ReplicaStats(
            num_outstanding=other.num_outstanding + replica.num_outstanding,
            num_requests_total=other.num_requests_total + replica.num_requests_total,
            num_failures_total=other.num_failures_total + replica.num_failures_total,
            is_ejected=other.is_ejected or replica.is_ejected,
            heard_age_s=None if last == -math.inf else now - last,
        )
    return by_id


def _revision_stats(counts: RevisionCounts, outstanding: int, now: float) -> RevisionStats:
    last = counts.last_request_at
    return RevisionStats(
        num_waiting=counts.num_waiting,
        num_outstanding=outstanding,
        num_requests_total=counts.num_requests_total,
        ttft_counts=tuple(counts.ttft.counts),
        last_request_age_s=None if last is None else now - last,
    )
