import math
import statistics
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bench.errors import OptionError
from headrace.bench.load.arrivals import (
    ClosedLoop,
    RatedArrivals,
    TraceArrivals,
    arrival_times,
    max_concurrency_of,
)

rates = st.floats(0.01, 10_000)
shapes = st.one_of(st.floats(0.01, 100), st.just(math.inf))
seeds = st.integers(0, 2**32)


@given(rates, shapes, seeds, st.integers(2, 200))
def test_arrivals_are_ordered_and_have_the_requested_rate(rate, shape, seed, number):
    times = arrival_times(RatedArrivals(rate, shape, seed=seed), [None] * number)
    assert len(times) == number
    assert times[0] == 0.0
    assert all(later >= earlier for earlier, later in pairwise(times))
    assert times[-1] == pytest.approx((number - 1) / rate)


@given(rates, shapes, seeds)
def test_arrivals_are_reproducible_by_seed(rate, shape, seed):
    arrivals = RatedArrivals(rate, shape, seed=seed)
    assert arrival_times(arrivals, [None] * 20) == arrival_times(arrivals, [None] * 20)


@given(rates)
def test_infinite_burstiness_is_a_fixed_rate(rate):
    times = arrival_times(RatedArrivals(rate, math.inf), [None] * 10)
    assert times == pytest.approx([number / rate for number in range(10)])


@pytest.mark.parametrize("shape", [0.25, 1.0, 4.0])
def test_gaps_vary_as_a_gamma_distribution_of_that_shape(shape):
    times = arrival_times(RatedArrivals(1.0, shape, seed=7), [None] * 20_001)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert statistics.stdev(gaps) / statistics.mean(gaps) == pytest.approx(
        1 / math.sqrt(shape), rel=0.05
    )


@pytest.mark.parametrize("seed", range(20))
def test_few_requests_have_the_requested_rate(seed):
    start, *between, end = arrival_times(RatedArrivals(1.0, seed=seed), [None] * 4)
    assert (start, end) == (0.0, pytest.approx(3.0))
    assert all(0.0 < time_s < end for time_s in between)


def test_without_a_shape_it_is_a_poisson_process():
    assert RatedArrivals(2.0) == RatedArrivals(2.0, burstiness=1.0, max_concurrency=None, seed=0)


def test_an_infinite_rate_sends_all_requests_at_once():
    assert arrival_times(RatedArrivals(math.inf), [None] * 3) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("number", [0, 1])
def test_few_requests_have_no_gaps(number):
    assert arrival_times(RatedArrivals(0.001), [None] * number) == [0.0] * number


@given(st.integers(2, 50), seeds)
def test_a_shape_near_zero_is_accepted(number, seed):
    times = arrival_times(RatedArrivals(2.0, 1e-300, seed=seed), [None] * number)
    assert len(times) == number
    assert times[-1] == pytest.approx((number - 1) / 2.0)
    assert all(math.isfinite(time_s) for time_s in times)


def test_tiny_gaps_do_not_overflow():
    assert arrival_times(RatedArrivals(0.5, 0.01, seed=16545), [None] * 2) == [0.0, 2.0]


def test_a_trace_sets_its_arrival_times():
    assert arrival_times(TraceArrivals(), [0.0, 2.5, 1.0]) == [0.0, 2.5, 1.0]


def test_a_workload_without_times_is_not_a_trace():
    with pytest.raises(OptionError, match="no arrival times"):
        arrival_times(TraceArrivals(), [0.0, None])


def test_concurrency():
    assert max_concurrency_of(ClosedLoop(1)) == 1
    assert max_concurrency_of(ClosedLoop(4)) == 4
    assert max_concurrency_of(RatedArrivals(1.0)) is None
    assert max_concurrency_of(TraceArrivals(max_concurrency=3)) == 3


@pytest.mark.parametrize(
    "make",
    [
        lambda: ClosedLoop(0),
        lambda: RatedArrivals(0.0),
        lambda: RatedArrivals(math.nan),
        lambda: RatedArrivals(1.0, 0.0),
        lambda: RatedArrivals(1.0, max_concurrency=0),
        lambda: TraceArrivals(max_concurrency=-1),
    ],
)
def test_invalid_values_are_refused(make):
    with pytest.raises(OptionError, match=r"must be (above 0|at least 1)"):
        make()
