"""Observations of a revision, and the interval between two of them. Pure.

Counters reset to 0 when their process restarts; what they counted since then is their increase.
Times are of a monotonic clock, so that steps of the wall clock have no effect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from headrace.control.history.interval import Distribution, Interval, Ratio
from headrace.control.scaling.replica_metrics import ReplicaPage
from headrace.control.scaling.replica_scraper import PageScrape
from headrace.core.gateway.stats import (
    INTER_TOKEN_BUCKETS_S,
    TTFT_BUCKETS_S,
    RevisionStats,
)

NO_STATS = RevisionStats(0, 0, 0, (), None)
"""Of a revision without requests."""
_NO_PAGE = ReplicaPage(
    num_waiting=0.0,
    kv_cache_usage=None,
    num_finished_total=0.0,
    prompt_tokens_total=0.0,
    generation_tokens_total=0.0,
    prefix_cache_queries_total=0.0,
    prefix_cache_hits_total=0.0,
    preemptions_total=0.0,
)
"""Of a replica that starts."""
_SHORTEST_S = 0.1
"""Between two scrapes: what is closer together gives no rate."""


@dataclass(frozen=True, slots=True)
class GatewayObservation:
    """The gateway's stats of one revision."""

    at_s: float
    uptime_s: float
    """Of the gateway."""
    stats: RevisionStats


@dataclass(frozen=True, slots=True)
class Observation:
    """One revision at one moment."""

    at_s: float
    num_ready: int
    replica_ids: frozenset[str] = frozenset()
    """The replicas that may have requests: ready and draining."""
    gateway: GatewayObservation | None = None
    """None: it has not responded yet."""
    pages: Mapping[str, PageScrape] = field(default_factory=dict)
    """By replica id; without those that have not responded yet."""


def carried(earlier: Observation | None, later: Observation) -> Observation:
    """``later``, with the last known values of what did not respond: the base of its counters."""
    if earlier is None:
        return later
    last = {name: page for name, page in earlier.pages.items() if name in later.replica_ids}
    return replace(later, gateway=later.gateway or earlier.gateway, pages={**last, **later.pages})


def interval_between(earlier: Observation | None, later: Observation) -> Interval:
    """Both as returned by `carried`. Without an earlier one, counters are unknown."""
    elapsed_s = 1.0 if earlier is None else later.at_s - earlier.at_s
    if elapsed_s <= 0:
        return Interval()
    interval = _gauges(earlier, later, elapsed_s)
    if earlier is None:
        return interval
    interval = _with_gateway(interval, earlier, later, elapsed_s)
    return _with_tokens(interval, earlier, later, elapsed_s)


def _fresh_pages(earlier: Observation | None, later: Observation) -> Mapping[str, PageScrape]:
    """Without pages that were carried."""
    before = {} if earlier is None else earlier.pages
    return {
        name: page
        for name, page in later.pages.items()
        if name not in before or page.at_s > before[name].at_s
    }


def _fresh_gateway(earlier: Observation | None, later: Observation) -> RevisionStats | None:
    if later.gateway is None:
        return None
    before = None if earlier is None else earlier.gateway
    is_fresh = before is None or later.gateway.at_s > before.at_s
    return later.gateway.stats if is_fresh else None


def _gauges(earlier: Observation | None, later: Observation, elapsed_s: float) -> Interval:
    pages, gateway = _fresh_pages(earlier, later), _fresh_gateway(earlier, later)
    usages = [
        one.page.kv_cache_usage for one in pages.values() if one.page.kv_cache_usage is not None
    ]
    running = waiting = None
    if pages:
        running = sum(one.page.num_running for one in pages.values())
        waiting = sum(one.page.num_waiting for one in pages.values())
    elif gateway is not None and not later.pages:
        running = float(gateway.num_outstanding)
    if gateway is not None and (pages or not later.pages):
        waiting = (waiting or 0.0) + gateway.num_waiting
    return Interval(
        running=_over(running, elapsed_s),
        waiting=_over(waiting, elapsed_s),
        ready_replicas=_over(later.num_ready, elapsed_s),
        kv_cache_usage=Ratio(sum(usages) * elapsed_s, len(usages) * elapsed_s),
    )


def _with_gateway(
    interval: Interval, earlier: Observation, later: Observation, elapsed_s: float
) -> Interval:
    """With what the gateway counted."""
    if earlier.gateway is None or later.gateway is None:
        return interval
    counted_s = later.gateway.at_s - earlier.gateway.at_s
    if counted_s < _SHORTEST_S:
        return interval
    has_restarted = later.gateway.uptime_s < counted_s
    before = NO_STATS if has_restarted else earlier.gateway.stats
    after = later.gateway.stats

    def rate(total: Callable[[RevisionStats], int]) -> Ratio:
        return _over(increase(total(before), total(after)) / counted_s, elapsed_s)

    return replace(
        interval,
        requests=rate(lambda stats: stats.num_requests_total),
        errors=rate(lambda stats: stats.num_errors_total),
        ttft=_growth_of(before.ttft_counts, after.ttft_counts, TTFT_BUCKETS_S),
        stream_ttft=_growth_of(before.stream_ttft_counts, after.stream_ttft_counts, TTFT_BUCKETS_S),
        # Of servers without vLLM's metrics. Tokens only if the client asks for their usage.
        prompt_tokens=rate(lambda stats: stats.num_prompt_tokens_total),
        generation_tokens=rate(lambda stats: stats.num_completion_tokens_total),
        inter_token=_growth_of(
            before.inter_token_counts, after.inter_token_counts, INTER_TOKEN_BUCKETS_S
        ),
    )


def _with_tokens(
    interval: Interval, earlier: Observation, later: Observation, elapsed_s: float
) -> Interval:
    """With what replicas counted, in place of the gateway's counts of what they export.

    A missing page is no reason for the gateway's count: the next one would be a replica's again.
    """
    counted = [
        growth
        for name, scraped in _fresh_pages(earlier, later).items()
        if (base := _base(name, earlier)) is not None
        if (growth := _growth(base, scraped)) is not None
    ]
    exported = [scraped.page for scraped in later.pages.values()]

    def rate(counter: Callable[[_Growth], float | None]) -> Ratio:
        known = [
            value / growth.elapsed_s for growth in counted if (value := counter(growth)) is not None
        ]
        return _over(sum(known), elapsed_s) if known else Ratio()

    if any(page.prompt_tokens_total is not None for page in exported):
        interval = replace(interval, prompt_tokens=rate(lambda growth: growth.prompt_tokens))
    if any(page.generation_tokens_total is not None for page in exported):
        interval = replace(
            interval, generation_tokens=rate(lambda growth: growth.generation_tokens)
        )
    if any(page.inter_token_counts for page in exported):
        interval = replace(
            interval,
            inter_token=sum((growth.inter_token for growth in counted), Distribution()),
        )
    return replace(
        interval,
        preemptions=rate(lambda growth: growth.preemptions),
        prefix_cache_hits=sum((growth.prefix_cache_hits for growth in counted), Ratio()),
    )


@dataclass(frozen=True, slots=True)
class _Growth:
    """What one replica counted between two scrapes. None: not exported."""

    elapsed_s: float
    prompt_tokens: float | None
    generation_tokens: float | None
    preemptions: float | None
    prefix_cache_hits: Ratio
    inter_token: Distribution


def _base(name: str, earlier: Observation) -> PageScrape | None:
    """The page before; of a replica that was not there, all zeros. None: unknown."""
    if name in earlier.pages:
        return earlier.pages[name]
    return None if name in earlier.replica_ids else PageScrape(earlier.at_s, _NO_PAGE)


def _growth(base: PageScrape, scraped: PageScrape) -> _Growth | None:
    elapsed_s = scraped.at_s - base.at_s
    if elapsed_s < _SHORTEST_S:
        return None
    before, after = base.page, scraped.page
    queries = _growth_or_none(before.prefix_cache_queries_total, after.prefix_cache_queries_total)
    hits = _growth_or_none(before.prefix_cache_hits_total, after.prefix_cache_hits_total)
    return _Growth(
        elapsed_s=elapsed_s,
        prompt_tokens=_growth_or_none(before.prompt_tokens_total, after.prompt_tokens_total),
        generation_tokens=_growth_or_none(
            before.generation_tokens_total, after.generation_tokens_total
        ),
        preemptions=_growth_or_none(before.preemptions_total, after.preemptions_total),
        prefix_cache_hits=_share(hits, queries),
        inter_token=growth_of_buckets(before.inter_token_counts, after.inter_token_counts),
    )


def _share(part: float | None, whole: float | None) -> Ratio:
    """Two counters of a page may reset at different times: the part is at most the whole."""
    return Ratio() if part is None or whole is None else Ratio(min(part, whole), whole)


def increase(earlier: float, later: float) -> float:
    """Of a counter, across one reset."""
    return later - earlier if later >= earlier else later


def growth_of_buckets(earlier: Mapping[float, float], later: Mapping[float, float]) -> Distribution:
    """Of a histogram's counts by upper bound. Its counters reset together."""
    has_reset = any(later.get(bound, 0.0) < count for bound, count in earlier.items())
    base: Mapping[float, float] = {} if has_reset else earlier
    return Distribution({bound: count - base.get(bound, 0.0) for bound, count in later.items()})


def _growth_of(
    earlier: Sequence[int], later: Sequence[int], edges: Sequence[float]
) -> Distribution:
    """Of the gateway's histograms, whose edges are known; empty ones are missing."""
    bounds = (*edges, float("inf"))
    return growth_of_buckets(
        dict(zip(bounds, map(float, earlier), strict=False)),
        dict(zip(bounds, map(float, later), strict=False)),
    )


def _growth_or_none(earlier: float | None, later: float | None) -> float | None:
    """None if it was not exported both times."""
    return None if earlier is None or later is None else increase(earlier, later)


def _over(value: float | None, elapsed_s: float) -> Ratio:
    """This mean over the whole interval."""
    return Ratio() if value is None else Ratio(value * elapsed_s, elapsed_s)
