"""The automaton against a search for each stop string at each position."""

import sys
from collections.abc import Callable
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.generation.sampling_params import MAX_STOP_STRING_LENGTH, MAX_STOP_STRINGS
from headrace.engine.outputs.stop_automaton import START, Match, StopAutomaton

STOPS = st.lists(st.text("abc", min_size=1, max_size=6), min_size=1, max_size=8)
TEXTS = st.text("abcd", max_size=60)


def first_match(text: str, stops: list[str]) -> Match | None:
    for end in range(1, len(text) + 1):
        matches = [stop for stop in stops if text[:end].endswith(stop)]
        if matches:
            return Match(end, max(matches, key=len))
    return None


def longest_beginning(text: str, stops: list[str]) -> int:
    """The length of the longest suffix of the text that is a proper prefix of a stop string."""
    starts = {stop[:size] for stop in stops for size in range(1, len(stop))}
    return max((len(start) for start in starts if text.endswith(start)), default=0)


@given(TEXTS, STOPS)
def test_matches_equal_those_of_individual_searches(text: str, stops: list[str]) -> None:
    automaton = StopAutomaton(tuple(stops))
    match, state = automaton.find(text, START)
    assert match == first_match(text, stops)
    if match is None:
        assert automaton.num_held(state) == longest_beginning(text, stops)


@given(TEXTS, TEXTS, STOPS)
def test_ignored_stop_strings_may_overlap_others(passed: str, text: str, stops: list[str]) -> None:
    automaton = StopAutomaton(tuple(stops))
    match, state = automaton.find(passed, START, may_stop=False)
    assert match is None
    assert automaton.num_held(state) == longest_beginning(passed, stops)
    match, _ = automaton.find(text, state)
    ends = [
        Match(end, stop)
        for end in range(1, len(text) + 1)
        for stop in stops
        if (passed + text[:end]).endswith(stop)
    ]
    expected = min(ends, key=lambda each: (each.end, -len(each.stop)), default=None)
    assert match == expected


# Texts with the longest partial matches and the most fallbacks.
HARD = "ab" * (MAX_STOP_STRING_LENGTH // 2 - 1) + "aa"
MANY = tuple(HARD[:i] + "x" for i in range(2 * MAX_STOP_STRINGS, 3 * MAX_STOP_STRINGS))


@pytest.mark.parametrize("text", [HARD * 20, "a" * 5000, "nothing begins here " * 100])
def test_matching_cost_is_independent_of_the_number_of_stop_strings(text: str) -> None:
    one, many = StopAutomaton((HARD + "x",)), StopAutomaton(MANY)
    assert num_calls(many.find, text, START) <= num_calls(one.find, text, START) + 2 * len(text)
    assert num_calls(many.find, text, START) <= 4 * len(text) + 10


@pytest.mark.parametrize(
    "stops",
    [
        MANY,
        tuple("a" * i + "b" for i in range(1, MAX_STOP_STRINGS + 1)),
        tuple("ab" * i for i in range(1, MAX_STOP_STRINGS + 1)),
    ],
)
def test_construction_cost_is_linear_in_the_characters(stops: tuple[str, ...]) -> None:
    assert num_calls(StopAutomaton, stops) <= 20 * sum(map(len, stops)) + 100


def num_calls(function: Callable[..., object], *arguments: object) -> int:
    """The number of Python and C function calls that the function makes."""
    num = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal num
        num += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        function(*arguments)
    finally:
        sys.setprofile(None)
    return num
