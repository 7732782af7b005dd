"""Finds a sequence of tokens in an output, token by token (Knuth, Morris and Pratt, 1977)."""

from collections.abc import Sequence


class SequenceFinder:
    """Looks for the first occurrence of ``sequence``; an empty one is found at once."""

    def __init__(self, sequence: Sequence[int]) -> None:
        self._sequence = tuple(sequence)
        self._fallback = _fallback_of(self._sequence)
        self._num_matched = 0

    @property
    def is_found(self) -> bool:
        return self._num_matched == len(self._sequence)

    def push(self, token_id: int) -> None:
        """Take the next token; once the sequence is found, nothing changes."""
        if self.is_found:
            return
        matched = self._num_matched
        while matched and self._sequence[matched] != token_id:
            matched = self._fallback[matched - 1]
        self._num_matched = matched + (self._sequence[matched] == token_id)


def _fallback_of(sequence: Sequence[int]) -> list[int]:
    """For each prefix, the length of its longest proper prefix that is also its suffix."""
    fallback = [0] * len(sequence)
    matched = 0
    for place in range(1, len(sequence)):
        while matched and sequence[matched] != sequence[place]:
            matched = fallback[matched - 1]
        matched += sequence[matched] == sequence[place]
        fallback[place] = matched
    return fallback
