"""The gateway's counters in the format of core/gateway/usage.py."""

from __future__ import annotations

from headrace.core.gateway.usage import UsageCounts, UsageKey, UsageTotal
from headrace.gateway.routing.counters import TrafficCounts
from headrace.gateway.routing.router import Router


def usage_totals(router: Router) -> tuple[UsageTotal, ...]:
    """Of all services, revisions together."""
    found: dict[UsageKey, UsageCounts] = {}
    for service in router.services.values():
        for (_, key, model), counts in service.traffic.items():
            usage_key = UsageKey(service.name, key, model)
            found[usage_key] = found.get(usage_key, UsageCounts()) + _counts(counts)
    return tuple(UsageTotal(key, counts) for key, counts in found.items())


def _counts(counts: TrafficCounts) -> UsageCounts:
    return UsageCounts(
        num_requests=sum(counts.responses.values()),
        num_errors=counts.num_failed,
        prompt_tokens=counts.num_prompt_tokens,
        completion_tokens=counts.num_completion_tokens,
        cached_tokens=counts.num_cached_tokens,
    )
