"""Finds many stop strings in a text at once, by work that does not grow with their number.

Knows nothing of what is done with a match. Aho and Corasick: "Efficient string matching: an aid to
bibliographic search", CACM 18 (1975). A state stands for the longest end of the text with which
some stop string begins.
"""

from dataclasses import dataclass

START = 0
"""The state before a text's first character."""
_KEY_STRIDE = 0x110000
"""One more than the largest code point, so that state and character make one key."""


@dataclass(frozen=True, slots=True)
class Match:
    """The stop string that is completed first; of several at one place, the longest."""

    end: int
    """One past its last character."""
    stop: str


class StopAutomaton:
    """The stop strings of one request, none of them empty.

    Building it takes time and memory in proportion to their characters. It does not change after
    that: the choices of a request share it, and each keeps its own state.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._next: dict[int, int] = {}
        """The state after a state and a character with which some stop string goes on."""
        self._fallbacks = [START]
        """By state: that of the longest shorter end with which some stop string begins."""
        self._stops: list[str | None] = [None]
        """By state: the longest stop string that is completed there."""
        self._num_held = [0]
        """By state: how much of the text's end may become a stop string."""
        self._first_characters = frozenset(stop[0] for stop in stops)
        self._link(self._add_all(stops))

    def find(self, text: str, state: int, may_stop: bool = True) -> tuple[Match | None, int]:
        """The first match, and the state behind it; without one, the state behind the text.

        may_stop: False passes over the stop strings that are completed in this text.
        """
        if state == START and self._first_characters.isdisjoint(text):
            return None, START
        following, fallbacks, stops = self._next, self._fallbacks, self._stops
        for end, character in enumerate(text, start=1):
            code = ord(character)
            # A state is as deep as the text's end is long: each character deepens it by one at
            # most, each fallback makes it less deep, so there are no more of these than characters.
            while (found := following.get(state * _KEY_STRIDE + code)) is None and state != START:
                state = fallbacks[state]
            state = found or START
            if may_stop and (stop := stops[state]) is not None:
                return Match(end, stop), state
        return None, state

    def num_held(self, state: int) -> int:
        """How many characters at the text's end are the beginning of a stop string: of the longest
        such beginning, whole stop strings left out."""
        return self._num_held[state]

    def _add_all(self, stops: tuple[str, ...]) -> list[list[tuple[int, int]]]:
        """Make the states; their keys in ``_next`` and themselves, by depth."""
        by_depth: list[list[tuple[int, int]]] = [[] for _ in range(max(map(len, stops), default=0))]
        for stop in stops:
            state = START
            for depth, character in enumerate(stop):
                key = state * _KEY_STRIDE + ord(character)
                found = self._next.get(key)
                if found is None:
                    found = self._next[key] = len(self._stops)
                    self._stops.append(None)
                    self._fallbacks.append(START)
                    self._num_held.append(0)
                    by_depth[depth].append((key, found))
                self._num_held[state] = depth
                state = found
            self._stops[state] = stop
        return by_depth

    def _link(self, by_depth: list[list[tuple[int, int]]]) -> None:
        """Find the fallbacks, the less deep states first, and what follows from them."""
        for depth, states in enumerate(by_depth):
            for key, state in states:
                fallback = START
                if depth > 0:
                    before, code = divmod(key, _KEY_STRIDE)
                    fallback = self._fallbacks[before]
                    while (
                        found := self._next.get(fallback * _KEY_STRIDE + code)
                    ) is None and fallback != START:
                        fallback = self._fallbacks[fallback]
                    fallback = found or START
                self._fallbacks[state] = fallback
                if self._stops[state] is None:
                    self._stops[state] = self._stops[fallback]
                if self._num_held[state] == 0:  # no stop string goes on from here
                    self._num_held[state] = self._num_held[fallback]
