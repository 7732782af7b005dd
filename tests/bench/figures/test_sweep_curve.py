"""The knee of throughput curves."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.bench.figures.sweep_curve import SweepPoint, curve_of, find_knee, is_saturated


def points(loads: list[float], values: list[float]) -> list[SweepPoint]:
    return [SweepPoint(x, y, i) for i, (x, y) in enumerate(zip(loads, values, strict=True))]


def test_throughput_with_a_knee_at_four_requests_per_second() -> None:
    assert find_knee([1, 2, 4, 8, 16], [1, 2, 4, 4.2, 4.2]) == 4


def test_throughput_that_flattens_slowly() -> None:
    assert find_knee([1, 2, 4, 8, 16, 32], [10, 19, 34, 50, 55, 57]) == 8


def test_throughput_that_falls_after_the_knee() -> None:
    assert find_knee([1, 2, 4, 8], [100, 190, 360, 250]) == 4


def test_the_papers_example() -> None:
    """f(x) = -1 / (x + 0.1) + 5, whose knee is at x = 0.22 in the paper."""
    loads = [i / 9 for i in range(10)]
    assert find_knee(loads, [-1 / (x + 0.1) + 5 for x in loads]) == 2 / 9


def test_throughput_saturated_from_the_second_load() -> None:
    assert find_knee([1, 2, 4, 8], [0.01, 0.02, 0.02, 0.02]) == 2


def test_the_highest_of_several_knees_is_used() -> None:
    values = [0, 4, 4.2, 4.3, 8, 8.1, 8.2, 8.3, 8.4]
    assert find_knee(range(1, 10), values) == 5
    assert find_knee(range(1, 5), values[:4]) == 2


def test_a_straight_line_has_no_knee() -> None:
    assert find_knee([1, 2, 4, 8], [10, 20, 40, 80]) is None


def test_a_convex_curve_has_no_knee() -> None:
    assert find_knee([1, 2, 3, 4], [1, 4, 9, 16]) is None


def test_too_few_or_constant_points_have_no_knee() -> None:
    assert find_knee([1, 2], [1, 2]) is None
    assert find_knee([1, 2, 3], [5, 5, 5]) is None
    assert find_knee([1, 2, 3, 4], [5, 5, 5]) is None


@given(
    st.lists(st.integers(1, 1000), min_size=3, max_size=12, unique=True).map(sorted),
    st.data(),
)
def test_a_knee_is_a_load_and_does_not_depend_on_units(
    loads: list[int], data: st.DataObject
) -> None:
    values = data.draw(
        st.lists(st.integers(0, 1000), min_size=len(loads), max_size=len(loads)), label="values"
    )
    knee = find_knee(loads, values)
    assert knee is None or knee in loads[1:-1]
    scaled = find_knee([x * 4 for x in loads], [y * 8 for y in values])
    assert scaled == (None if knee is None else knee * 4)


def test_saturation() -> None:
    assert not is_saturated(points([1], [10]))
    assert not is_saturated(points([1, 2], [10, 19]))
    assert is_saturated(points([1, 2], [10, 10]))
    assert is_saturated(points([1, 2, 4], [10, 19, 20]))
    assert is_saturated(points([1, 2, 4], [10, 19, 12]))
    assert is_saturated(points([1, 2, 4, 8], [10, 19, 12, 18]))  # the best so far counts


def test_the_saturation_threshold_is_a_tenth_of_the_growth() -> None:
    assert not is_saturated(points([1, 6], [10, 15]))
    assert is_saturated(points([1, 6], [10, 14.9]))


def test_zero_throughput_is_not_saturation() -> None:
    assert not is_saturated(points([1, 2], [0, 0]))
    assert not is_saturated(points([0, 2], [5, 5]))


def test_a_small_load_increment_is_not_saturation() -> None:
    assert not is_saturated(points([10, 10.5], [100, 104]))


def test_a_curve_sorts_its_points() -> None:
    curve = curve_of("concurrency", "output_tokens_per_s", points([8, 1, 2, 4], [41, 10, 20, 40]))
    assert [point.load for point in curve.points] == [1, 2, 4, 8]
    assert [point.run for point in curve.points] == [1, 2, 3, 0]
    assert curve.knee == 4
    assert curve.is_saturated
