from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.control.history.block import COARSE, FINE, Block
from headrace.control.history.revision_sample import METRICS, RevisionSample
from headrace.control.history.series import Period, series_of, window_of

NOW = 1_767_225_600 + 12_345.6


def blocks_with(period: Period, samples: dict[int, RevisionSample]) -> list[Block]:
    """``samples``: by Unix time of their step."""
    resolution = window_of(period, NOW).resolution
    blocks: dict[int, Block] = {}
    for at_s, sample in samples.items():
        begins_at = resolution.block_begin(at_s)
        block = blocks.setdefault(begins_at, Block(resolution, begins_at))
        block.put(at_s, sample)
    return list(blocks.values())


@pytest.mark.parametrize(
    ("period", "step_s", "num_steps", "resolution"),
    [
        (Period.HOUR, 15, 240, FINE),
        (Period.DAY, 300, 288, COARSE),
        (Period.MONTH, 3600, 720, COARSE),
    ],
)
def test_a_window_ends_with_the_last_complete_step(
    period: Period, step_s: int, num_steps: int, resolution: object
) -> None:
    window = window_of(period, NOW)
    assert window.resolution is resolution
    times = window.times()
    assert len(times) == num_steps
    assert {later - earlier for earlier, later in pairwise(times)} == {step_s}
    assert times[-1] + step_s <= NOW < times[-1] + 2 * step_s
    assert all(time % step_s == 0 for time in times)


@given(st.sets(st.integers(-30, 270)))
def test_each_sample_is_at_its_time_and_gaps_are_none(indexes: set[int]) -> None:
    window = window_of(Period.HOUR, NOW)
    written = {
        window.begins_at + index * 15: RevisionSample(requests_per_s=float(index))
        for index in indexes
    }
    series = series_of(blocks_with(Period.HOUR, written), window)
    assert series.keys() == set(METRICS)
    for time, value in zip(window.times(), series["requests_per_s"], strict=True):
        assert value == (written[time].requests_per_s if time in written else None)
    assert set(series["ttft_p95_s"]) == {None}


values = st.none() | st.floats(0, 1e6, width=32)


@given(st.lists(st.tuples(values, values), min_size=12, max_size=12))
def test_a_longer_step_is_a_mean_of_the_known_values(pairs: list[tuple[float, float]]) -> None:
    window = window_of(Period.MONTH, NOW)
    written = {
        window.begins_at + index * 300: RevisionSample(requests_per_s=rate, ttft_p95_s=ttft)
        for index, (rate, ttft) in enumerate(pairs)
    }
    series = series_of(blocks_with(Period.MONTH, written), window)
    for metric, column in (("requests_per_s", 0), ("ttft_p95_s", 1)):
        known = [pair[column] for pair in pairs if pair[column] is not None]
        first, *others = series[metric]
        assert set(others) == {None}
        if not known:
            assert first is None
        else:
            assert first is not None
            assert min(known) * (1 - 1e-6) - 1e-6 <= first <= max(known) * (1 + 1e-6) + 1e-6


def test_latencies_of_a_longer_step_are_weighted_by_requests() -> None:
    window = window_of(Period.MONTH, NOW)
    written = {
        window.begins_at: RevisionSample(requests_per_s=9.0, ttft_p50_s=1.0),
        window.begins_at + 300: RevisionSample(requests_per_s=1.0, ttft_p50_s=2.0),
        window.begins_at + 600: RevisionSample(requests_per_s=0.0),
    }
    series = series_of(blocks_with(Period.MONTH, written), window)
    assert series["ttft_p50_s"][0] == pytest.approx(1.1)
    assert series["requests_per_s"][0] == pytest.approx(10 / 3)


def test_values_have_no_digits_that_float32_has_not() -> None:
    window = window_of(Period.HOUR, NOW)
    written = {window.begins_at: RevisionSample(ttft_p50_s=0.1)}
    assert series_of(blocks_with(Period.HOUR, written), window)["ttft_p50_s"][0] == 0.1
