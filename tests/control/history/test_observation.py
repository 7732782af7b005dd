"""What is counted between observations: resets, gaps, replicas that come and go."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.control.history.interval import Interval, sample_of
from headrace.control.history.observation import (
    GatewayObservation,
    Observation,
    carried,
    growth_of_buckets,
    increase,
    interval_between,
)
from headrace.control.scaling.replica_metrics import ReplicaPage
from headrace.control.scaling.replica_scraper import PageScrape
from headrace.core.gateway.stats import INTER_TOKEN_BUCKETS_S, TTFT_BUCKETS_S, RevisionStats

NUM_BUCKETS = len(TTFT_BUCKETS_S) + 1


def stats(
    num_requests: int = 0,
    num_errors: int = 0,
    ttft: Sequence[int] = (0,) * NUM_BUCKETS,
    num_outstanding: int = 0,
    num_waiting: int = 0,
    num_completion_tokens: int = 0,
) -> RevisionStats:
    return RevisionStats(
        num_waiting,
        num_outstanding,
        num_requests,
        tuple(ttft),
        1.0,
        num_errors_total=num_errors,
        num_completion_tokens_total=num_completion_tokens,
    )


def page(num_tokens: float = 0.0, **values: float | None) -> ReplicaPage:
    usual: dict[str, float | None] = {
        "num_waiting": 0.0,
        "kv_cache_usage": 0.5,
        "num_finished_total": 0.0,
        "generation_tokens_total": num_tokens,
    }
    return ReplicaPage(**{**usual, **values})  # type: ignore[arg-type]


def seen(
    at_s: float,
    *,
    gateway: RevisionStats | None = None,
    uptime_s: float | None = None,
    pages: Mapping[str, ReplicaPage | None] | None = None,
    num_ready: int = 1,
) -> Observation:
    """``pages``: None for a replica that does not respond."""
    observed = None
    if gateway is not None:
        observed = GatewayObservation(at_s, at_s if uptime_s is None else uptime_s, gateway)
    pages = pages or {}
    return Observation(
        at_s,
        num_ready,
        frozenset(pages),
        observed,
        {name: PageScrape(at_s, one) for name, one in pages.items() if one is not None},
    )


def intervals_of(*observations: Observation) -> list[Interval]:
    earlier, found = None, []
    for one in observations:
        later = carried(earlier, one)
        found.append(interval_between(earlier, later))
        earlier = later
    return found


def test_a_first_observation_has_gauges_and_no_rates() -> None:
    [first] = intervals_of(seen(10, gateway=stats(100, num_waiting=2), pages={"a": page(50)}))
    sample = sample_of(first)
    assert sample.requests_per_s is None
    assert sample.generation_tokens_per_s is None
    assert sample.kv_cache_usage == 0.5
    assert sample.num_waiting == 2
    assert sample.num_ready_replicas == 1


def test_rates_are_the_increase_by_the_time_between_scrapes() -> None:
    _, second = intervals_of(
        seen(0, gateway=stats(100, 1), pages={"a": page(50), "b": page(0)}),
        seen(15, gateway=stats(130, 4), pages={"a": page(80), "b": page(120)}),
    )
    sample = sample_of(second)
    assert sample.requests_per_s == 2.0
    assert sample.errors_per_s == pytest.approx(0.2)
    assert sample.generation_tokens_per_s == 10.0


def test_a_scrape_that_autoscaling_made_earlier_counts_for_its_own_time() -> None:
    """The page is 3 s old at the second observation: 30 tokens in 12 s."""
    before = seen(0, pages={"a": page(0)})
    after = Observation(15, 1, frozenset("a"), None, {"a": PageScrape(12, page(30))})
    assert sample_of(interval_between(before, after)).generation_tokens_per_s == 2.5


def test_a_replica_that_starts_between_two_observations_counts_from_zero() -> None:
    _, second = intervals_of(
        seen(0, pages={"a": page(1000)}), seen(10, pages={"a": page(1000), "b": page(40)})
    )
    assert sample_of(second).generation_tokens_per_s == 4.0


def test_a_replica_that_leaves_takes_nothing_back() -> None:
    _, second = intervals_of(
        seen(0, pages={"a": page(1000), "b": page(500)}), seen(10, pages={"a": page(1100)})
    )
    assert sample_of(second).generation_tokens_per_s == 10.0


def test_what_is_missing_once_is_made_up_at_the_next_observation() -> None:
    """As a mean over the whole time, without a step up."""
    _, gap, third = intervals_of(
        seen(0, gateway=stats(0), pages={"a": page(0)}),
        seen(15, pages={"a": None}),
        seen(30, gateway=stats(60), pages={"a": page(90)}),
    )
    assert sample_of(gap).requests_per_s is None
    assert sample_of(gap).generation_tokens_per_s is None
    assert sample_of(gap).num_running is None
    assert sample_of(gap).kv_cache_usage is None
    assert sample_of(third).requests_per_s == 2.0
    assert sample_of(third).generation_tokens_per_s == 3.0


def test_the_gateways_counts_stand_in_for_servers_without_metrics() -> None:
    _, second = intervals_of(
        seen(0, gateway=stats(num_completion_tokens=0), pages={"a": None}),
        seen(10, gateway=stats(num_completion_tokens=50, num_outstanding=3), pages={"a": None}),
    )
    sample = sample_of(second)
    assert sample.generation_tokens_per_s == 5.0
    assert sample.num_running == 3
    assert sample.kv_cache_usage is None


def test_the_gateways_counts_stand_in_for_metrics_that_a_server_does_not_export() -> None:
    counts = [0] * (len(INTER_TOKEN_BUCKETS_S) + 1)
    counts[INTER_TOKEN_BUCKETS_S.index(0.05)] = 10
    gateway = msgspec.structs.replace(
        stats(num_completion_tokens=50), inter_token_counts=tuple(counts)
    )
    _, second = intervals_of(
        seen(0, gateway=stats(), pages={"a": page(num_tokens=0.0)}),
        seen(10, gateway=gateway, pages={"a": page(num_tokens=20.0)}),
    )
    sample = sample_of(second)
    assert sample.generation_tokens_per_s == 2.0
    assert sample.inter_token_latency_p50_s == pytest.approx(0.0375)


def test_the_gateways_tokens_are_not_added_to_those_of_replicas() -> None:
    _, second = intervals_of(
        seen(0, gateway=stats(num_completion_tokens=0), pages={"a": page(0)}),
        seen(10, gateway=stats(num_completion_tokens=50), pages={"a": page(70)}),
    )
    assert sample_of(second).generation_tokens_per_s == 7.0


def test_the_prefix_hit_ratio_is_of_the_tokens_in_between() -> None:
    def looked_up(queries: float, hits: float) -> dict[str, ReplicaPage | None]:
        one = page(prefix_cache_queries_total=queries, prefix_cache_hits_total=hits)
        return {"a": one}

    _, second, third = intervals_of(
        seen(0, pages=looked_up(1000, 0)),
        seen(10, pages=looked_up(1100, 75)),
        seen(20, pages=looked_up(1100, 75)),
    )
    assert sample_of(second).prefix_cache_hit_ratio == 0.75
    assert sample_of(third).prefix_cache_hit_ratio is None


def test_observations_at_the_same_time_give_nothing() -> None:
    _, second = intervals_of(seen(5, gateway=stats(1)), seen(5, gateway=stats(9)))
    assert second == Interval()


@dataclass(frozen=True)
class Step:
    """What happens between two observations."""

    num_requests: int
    ttft: tuple[int, ...]
    restarts: bool
    """The gateway, before these requests."""
    is_seen: bool
    elapsed_s: int


steps = st.builds(
    Step,
    num_requests=st.integers(0, 50),
    ttft=st.lists(st.integers(0, 20), min_size=NUM_BUCKETS, max_size=NUM_BUCKETS).map(tuple),
    restarts=st.booleans(),
    is_seen=st.booleans(),
    elapsed_s=st.integers(1, 60),
)


def observations_of(history: Sequence[Step]) -> list[Observation]:
    at_s, uptime_s, total, ttft = 1000.0, 0.0, 0, (0,) * NUM_BUCKETS
    observations = [seen(at_s, gateway=stats(0), uptime_s=uptime_s)]
    for step in history:
        at_s += step.elapsed_s
        uptime_s += step.elapsed_s
        if step.restarts:
            uptime_s, total, ttft = 0.0, 0, (0,) * NUM_BUCKETS
        total += step.num_requests
        ttft = tuple(a + b for a, b in zip(ttft, step.ttft, strict=True))
        gateway = stats(total, ttft=ttft) if step.is_seen else None
        observations.append(seen(at_s, gateway=gateway, uptime_s=uptime_s))
    return observations


@given(st.lists(steps, min_size=1, max_size=12))
def test_no_counted_request_is_lost_or_counted_twice(history: list[Step]) -> None:
    """Except those that the gateway counted between its last observation and its restart."""
    counted = Interval()
    for interval in intervals_of(*observations_of(history))[1:]:
        counted += interval
    expected_ttft = [0] * NUM_BUCKETS
    pending: list[Step] = []
    for step in history:
        if step.restarts:
            pending = []
        pending.append(step)
        if step.is_seen:
            for one in pending:
                expected_ttft = [a + b for a, b in zip(expected_ttft, one.ttft, strict=True)]
            pending = []
    bounds = (*TTFT_BUCKETS_S, math.inf)
    assert [counted.ttft.counts.get(bound, 0.0) for bound in bounds] == pytest.approx(expected_ttft)


@given(st.lists(steps, min_size=1, max_size=12))
def test_rates_are_never_negative_and_never_above_the_fastest_step(history: list[Step]) -> None:
    fastest = max(
        sum(step.num_requests for step in history[i : j + 1])
        / sum(step.elapsed_s for step in history[i : j + 1])
        for i in range(len(history))
        for j in range(i, len(history))
    )
    for interval in intervals_of(*observations_of(history))[1:]:
        rate = sample_of(interval).requests_per_s
        assert rate is None or 0 <= rate <= fastest + 1e-9


@given(st.lists(steps.map(lambda step: replace(step, restarts=False, is_seen=True)), min_size=2))
def test_the_sum_of_short_intervals_is_the_long_one(history: list[Step]) -> None:
    observations = observations_of(history)
    whole = interval_between(observations[0], observations[-1])
    total = Interval()
    for interval in intervals_of(*observations)[1:]:
        total += interval
    assert total.requests.total == pytest.approx(whole.requests.total)
    assert total.requests.weight == pytest.approx(whole.requests.weight)
    assert total.ttft == whole.ttft
    assert sample_of(total).ttft_p95_s == sample_of(whole).ttft_p95_s


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=1))
def test_the_increase_of_a_counter_across_resets_is_never_negative_nor_too_much(
    events: list[tuple[int, bool]],
) -> None:
    value, counted, happened = 0.0, 0.0, 0
    for num, resets in events:
        before = value
        value = (0.0 if resets else value) + num
        counted += increase(before, value)
        happened += num
        assert increase(before, value) >= 0
    assert counted <= happened


buckets = st.dictionaries(st.sampled_from([0.1, 0.5, math.inf]), st.integers(0, 9).map(float))


@given(buckets, buckets)
def test_a_histogram_grows_by_what_it_has_now_or_by_the_difference(
    earlier: dict[float, float], later: dict[float, float]
) -> None:
    grown = growth_of_buckets(earlier, later).counts
    assert grown.keys() == later.keys()
    assert all(0 <= count <= later[bound] for bound, count in grown.items())
