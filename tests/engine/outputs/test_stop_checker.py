from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.outputs.stop_automaton import StopAutomaton
from headrace.engine.outputs.stop_checker import Checked, StopChecker

TEXTS = st.text("abc", max_size=30)
STOPS = st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3, unique=True)


def make(stops: list[str], include: bool = False) -> StopChecker:
    return StopChecker(StopAutomaton(tuple(stops)), include)


def run(checker: StopChecker, pieces: list[str]) -> Checked:
    """All emitted text, joined."""
    out = ""
    for piece in pieces:
        checked = checker.push(piece)
        out += checked.text
        if checked.stop is not None:
            return Checked(out, checked.stop)
    return Checked(out + checker.flush())


def reference(text: str, stops: list[str], include: bool) -> Checked:
    """Check every prefix of the text, shortest first."""
    for end in range(1, len(text) + 1):
        matches = [stop for stop in stops if text[:end].endswith(stop)]
        if matches:
            stop = max(matches, key=len)
            return Checked(text[: end if include else end - len(stop)], stop)
    return Checked(text)


@given(TEXTS, STOPS, st.booleans(), st.data())
def test_results_do_not_depend_on_chunk_boundaries(
    text: str, stops: list[str], include: bool, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    found = run(make(stops, include), pieces)
    assert found == reference(text, stops, include)


@given(TEXTS, STOPS)
def test_no_text_of_a_stop_string_is_emitted(text: str, stops: list[str]) -> None:
    checker = make(stops)
    out = ""
    for end, character in enumerate(text, start=1):
        checked = checker.push(character)
        out += checked.text
        if checked.stop is not None:
            break
        held = text[len(out) : end]
        assert text[:end] == out + held
        # Held is exactly what may become a stop string, no more.
        starts = [stop[:size] for stop in stops for size in range(1, len(stop))]
        longest = max(
            (start for start in starts if text[:end].endswith(start)), key=len, default=""
        )
        assert held == longest


def test_a_chunk_without_a_partial_match_is_emitted_at_once() -> None:
    checker = make(["END"])
    assert checker.push("a word") == Checked("a word")
    assert checker.push(" E") == Checked(" ")
    assert checker.push("asy") == Checked("Easy")


def test_the_included_stop_string_is_not_held_back() -> None:
    checker = make(["END"], include=True)
    assert checker.push("E") == Checked("E")
    assert checker.push("N") == Checked("N")
    assert checker.push("D and more") == Checked("D", "END")


def test_before_min_tokens_a_stop_string_is_ordinary_text() -> None:
    checker = make(["END"])
    assert checker.push("END", may_stop=False) == Checked("END")
    assert checker.push(" ").text == " "
    assert checker.push("END") == Checked("", "END")


def test_a_stop_string_may_span_min_tokens() -> None:
    checker = make(["END"])
    assert checker.push("the E", may_stop=False) == Checked("the ")
    assert checker.push("ND") == Checked("", "END")


def test_ignored_stop_strings_are_not_matched_later() -> None:
    checker = make(["b", "abc"])
    assert checker.push("ab", may_stop=False) == Checked("")
    assert checker.push("x") == Checked("abx")
