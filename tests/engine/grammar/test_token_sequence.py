"""A sequence is found where it first ends, whatever comes before."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.grammar.token_sequence import SequenceFinder

TOKENS = st.lists(st.integers(0, 2), max_size=30)


@given(sequence=st.lists(st.integers(0, 2), max_size=5), tokens=TOKENS)
def test_the_first_occurrence_is_found(sequence: list[int], tokens: list[int]) -> None:
    finder = SequenceFinder(sequence)
    for number in range(len(tokens) + 1):
        expected = any(
            tokens[end - len(sequence) : end] == sequence
            for end in range(len(sequence), number + 1)
        )
        assert finder.is_found == expected
        if number < len(tokens):
            finder.push(tokens[number])
