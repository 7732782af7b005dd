"""Ratios of interleaved targets."""

import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bench.figures.pairing import (
    COMPARED,
    MIN_ROUNDS_FOR_INTERVAL,
    PairedRatio,
    bootstrap_median,
    paired_ratios,
    turn_order,
)
from headrace.bench.figures.run_figures import Figures, figures_of
from headrace.bench.records import RequestRecord


def figures(latency_s: float) -> Figures:
    """Of a server that sent ten tokens at once."""
    record = RequestRecord(index=0, sent_s=0.0, ended_s=latency_s, num_output_tokens=10)
    return figures_of([record], duration_s=latency_s)


def by_figure(ratios: list[PairedRatio], name: str) -> PairedRatio:
    return next(ratio for ratio in ratios if ratio.figure == name)


def test_ratios_are_computed_within_rounds() -> None:
    """The machine slows down to a third over the rounds; b is always half as fast as a."""
    rounds = [{"a": figures(s), "b": figures(2 * s)} for s in (1.0, 1.5, 2.0, 2.2, 2.5, 3.0)]
    latency = by_figure(paired_ratios(rounds), "latency_s_p50")
    assert latency.rounds == pytest.approx([2.0] * 6)
    assert latency.low == latency.high == pytest.approx(2.0)
    assert latency.is_clear
    assert by_figure(paired_ratios(rounds), "output_tokens_per_s").median == pytest.approx(0.5)


def test_each_other_target_is_compared_with_the_first() -> None:
    rounds = [{"a": figures(1.0), "b": figures(2.0), "c": figures(4.0)}]
    ratios = paired_ratios(rounds)
    assert {(ratio.target, ratio.base) for ratio in ratios} == {("b", "a"), ("c", "a")}


def test_missing_figures_are_omitted() -> None:
    ratios = paired_ratios([{"a": figures(1.0), "b": figures(2.0)}])
    assert {ratio.figure for ratio in ratios} < set(COMPARED)
    assert not any("ttft" in ratio.figure for ratio in ratios)  # nothing was streamed


def test_few_rounds_have_no_interval_and_are_not_significant() -> None:
    rounds = [{"a": figures(1.0), "b": figures(2.0)}] * (MIN_ROUNDS_FOR_INTERVAL - 1)
    latency = by_figure(paired_ratios(rounds), "latency_s_p50")
    assert latency.low is None
    assert not latency.is_clear


def test_noise_around_one_is_not_significant() -> None:
    ratios = [0.9, 1.1, 0.95, 1.08, 0.97, 1.02]
    rounds = [{"a": figures(1.0), "b": figures(ratio)} for ratio in ratios]
    assert not by_figure(paired_ratios(rounds), "latency_s_p50").is_clear


def test_the_interval_has_its_nominal_coverage() -> None:
    rng = random.Random(7)
    hits = 0
    for _ in range(200):
        interval = bootstrap_median([rng.gauss(1.0, 0.1) for _ in range(12)])
        assert interval is not None
        hits += interval[0] <= 1.0 <= interval[1]
    assert hits >= 180


@pytest.mark.parametrize(("num", "low", "high"), [(9, 2, 8), (11, 3, 9), (13, 4, 10)])
def test_the_interval_width_follows_the_binomial_distribution(
    num: int, low: int, high: int
) -> None:
    """The resampled median of 1..n exceeds k unless more than half of n draws are k or less."""
    assert bootstrap_median([float(value) for value in range(1, num + 1)]) == (low, high)


@pytest.mark.parametrize(
    ("low", "high", "is_clear"),
    [
        (0.9, 1.0, False),
        (1.0, 1.1, False),
        (1.01, 1.1, True),
        (0.9, 0.99, True),
        (1.1, None, False),
    ],
)
def test_an_interval_that_includes_one_is_not_significant(
    low: float, high: float | None, is_clear: bool
) -> None:
    assert PairedRatio("f", "b", "a", True, 1.0, 1.0, 1.0, low, high, [1.0]).is_clear is is_clear


def test_only_rates_are_better_when_higher() -> None:
    higher = {name for name, figure in COMPARED.items() if figure.is_higher_better}
    assert higher == {"requests_per_s", "output_tokens_per_s", "generation_tokens_per_s_p50"}


@given(st.lists(st.floats(0.1, 10.0), min_size=MIN_ROUNDS_FOR_INTERVAL, max_size=20))
def test_the_interval_lies_within_the_values(values: list[float]) -> None:
    interval = bootstrap_median(values)
    assert interval is not None
    low, high = interval
    assert min(values) <= low <= high <= max(values)
    assert interval == bootstrap_median(values)  # the same seed, the same interval


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "c"], ["a"]])
def test_every_target_has_every_position_equally_often(names: list[str]) -> None:
    orders = [turn_order(names, i) for i in range(2 * len(names))]
    for place in range(len(names)):
        assert set(Counter(order[place] for order in orders).values()) == {2}
    for order in orders:
        assert sorted(order) == names


def test_the_order_rotates_and_is_reversed_every_second_time_around() -> None:
    orders = ["".join(turn_order(["a", "b", "c"], i)) for i in range(12)]
    assert orders == ["abc", "bca", "cab", "cba", "acb", "bac"] * 2


def test_no_target_always_follows_the_same_target() -> None:
    orders = [turn_order(["a", "b", "c"], i) for i in range(6)]
    followers = Counter(pair for order in orders for pair in pairwise(order))
    assert set(followers.values()) == {2}
