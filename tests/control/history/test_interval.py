"""Intervals add up, and a sample of a sum is that of the whole interval."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.control.history.interval import Distribution, Interval, Ratio, sample_of

EDGES = (0.1, 0.25, 0.5, 1.0, math.inf)

counts = st.integers(0, 1000).map(float)
ratios = st.builds(Ratio, counts, counts)
distributions = st.dictionaries(st.sampled_from(EDGES), counts).map(Distribution)
intervals = st.builds(
    Interval,
    requests=ratios,
    errors=ratios,
    kv_cache_usage=ratios,
    ttft=distributions,
    stream_ttft=distributions,
    inter_token=distributions,
)


@given(intervals, intervals, intervals)
def test_adding_intervals_is_associative_and_commutative(
    one: Interval, two: Interval, three: Interval
) -> None:
    assert (one + two) + three == one + (two + three)
    assert one + two == two + one
    assert one + Interval() == one


@given(distributions, distributions, st.floats(0.01, 0.99))
def test_a_percentile_of_a_sum_lies_between_those_of_its_parts(
    one: Distribution, two: Distribution, share: float
) -> None:
    whole = Distribution(dict.fromkeys(EDGES, 0.0))
    parts = [(whole + part).percentile(share) for part in (one, two)]
    found = (whole + one + two).percentile(share)
    known = [part for part in parts if part is not None]
    if not known:
        assert found is None
    else:
        assert found is not None
        assert min(known) - 1e-9 <= found <= max(known) + 1e-9


@given(intervals)
def test_a_sample_has_no_value_without_weight_and_no_invalid_one(interval: Interval) -> None:
    sample = sample_of(interval)
    assert (sample.requests_per_s is None) == (interval.requests.weight == 0)
    for value in (sample.errors_per_s, sample.ttft_p95_s, sample.inter_token_latency_p50_s):
        assert value is None or (math.isfinite(value) and value >= 0)


def test_ttft_is_that_of_streams_if_there_are_any() -> None:
    whole_responses = Distribution({0.1: 0.0, 1.0: 10.0, math.inf: 0.0})
    streams = Distribution({0.1: 10.0, 1.0: 0.0, math.inf: 0.0})
    mixed = sample_of(Interval(ttft=whole_responses + streams, stream_ttft=streams))
    assert mixed.ttft_p50_s == pytest.approx(0.05)
    unstreamed = sample_of(Interval(ttft=whole_responses))
    assert unstreamed.ttft_p50_s == pytest.approx(0.55)


def test_values_above_the_last_bound_count_as_that_bound() -> None:
    assert Distribution({0.1: 0.0, 1.0: 1.0, math.inf: 99.0}).percentile(0.95) == 1.0
    assert Distribution({math.inf: 3.0}).percentile(0.5) is None
    assert Distribution().percentile(0.5) is None
