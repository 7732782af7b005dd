"""Fixed colours of servers, and numbers in suitable units."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from headrace.bench.report.charts.style import HATCHES, INK, PALETTE, Colours
from headrace.bench.report.units import MILLISECONDS, SECONDS, milliseconds, short, time_unit

NAMES = st.text(alphabet="abcdefgh", min_size=1, max_size=3)


@given(st.sets(NAMES | st.sampled_from(["headrace", "baseline", "vllm"]), min_size=1, max_size=12))
def test_servers_have_distinct_styles(servers: set[str]) -> None:
    colours = Colours(sorted(servers))
    looks = [(colours.fill(server), colours.hatch(server)) for server in servers]
    assert len(set(looks)) == len(looks)


def test_known_servers_have_fixed_colours() -> None:
    alone, among = Colours(["headrace"]), Colours(["a", "baseline", "headrace", "z"])
    assert alone.fill("headrace") == among.fill("headrace") == PALETTE[0]
    assert among.hatch("a") == HATCHES[0]


def test_colours_have_contrast_on_light_and_dark_pages() -> None:
    for colour in PALETTE:
        assert _contrast(colour, "#ffffff") >= 2.4
        assert _contrast(colour, "#15181c") >= 4
    assert _contrast(INK, "#ffffff") >= 12


def test_units_are_scaled() -> None:
    assert time_unit([0.2, 0.9]) == MILLISECONDS
    assert time_unit([0.04, 2.0]) == MILLISECONDS
    assert time_unit([0.4, 2.0]) == SECONDS
    assert time_unit([0.04, 20.0]) == SECONDS
    assert time_unit([]) == MILLISECONDS


def test_numbers_have_three_significant_digits() -> None:
    assert [short(value) for value in (0, 0.01234, 1.234, 12.34, 1234.5)] == [
        "0",
        "0.0123",
        "1.23",
        "12.3",
        "1,234",
    ]
    assert milliseconds(0.0456) == "45.6"
    assert short(None) == milliseconds(None)


@given(st.lists(st.floats(1e-4, 1e7), min_size=2, max_size=12))
def test_formatting_is_monotonic(values: list[float]) -> None:
    shown = [float(short(value).replace(",", "")) for value in sorted(values)]
    assert all(first <= second for first, second in pairwise(shown))


def _contrast(one: str, other: str) -> float:
    """WCAG 2's contrast ratio."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
