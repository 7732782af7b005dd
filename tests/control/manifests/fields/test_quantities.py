"""Durations and sizes as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.control.manifests.fields.quantities import parse_duration, parse_size, parse_whole


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (30, 30),
        (0.5, 0.5),
        ("30", 30),
        ("1.5", 1.5),
        ("90s", 90),
        ("10m", 600),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("2d", 172800),
        ("500ms", 0.5),
        ("24H", 86400),
    ],
)
def test_durations(written: object, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written", ["", "h", "1x", "1h30", "s10", "-3", -3, True, None, [], "1:30"]
)
def test_what_is_no_duration(written: object) -> None:
    with pytest.raises(ValueError, match="must"):
        parse_duration(written)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59))
def test_parts_of_a_duration_add_up(hours: int, minutes: int, seconds: int) -> None:
    assert parse_duration(f"{hours}h{minutes}m{seconds}s") == hours * 3600 + minutes * 60 + seconds


@pytest.mark.parametrize(
    ("written", "num_bytes"),
    [
        (1024, 1024),
        ("1024", 1024),
        ("32MiB", 32 * 1024**2),
        ("16Gi", 16 * 1024**3),
        ("500M", 500 * 10**6),
        ("1.5 GB", 1_500_000_000),
        ("10B", 10),
    ],
)
def test_sizes(written: object, num_bytes: int) -> None:
    assert parse_size(written) == num_bytes


@pytest.mark.parametrize("written", ["", "big", "-1", "1X", "1mb", True, None, "nan", "1 2"])
def test_what_is_no_size(written: object) -> None:
    with pytest.raises(ValueError, match="must be a size"):
        parse_size(written)


@pytest.mark.parametrize("written", [True, 1.0, "1.0", "", "x", "--1", "²", "1_0"])
def test_what_is_no_whole_number(written: object) -> None:
    with pytest.raises(ValueError, match="must be a whole number"):
        parse_whole(written)


def test_whole_numbers() -> None:
    assert [parse_whole(value) for value in (3, "3", " -3 ")] == [3, 3, -3]
