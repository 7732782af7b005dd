"""Finds many stop strings in a text at once, in time that does not grow with their number.

Aho and Corasick: "Efficient string matching: an aid to bibliographic search", CACM 18 (1975). A
state stands for the longest suffix of the text that is a prefix of a stop string.
"""

from dataclasses import dataclass

START = 0
"""The state before a text's first character."""
_KEY_STRIDE = 0x110000
"""One more than the largest code point, so that state and character make one key."""


@dataclass(frozen=True, slots=True)
class Match:
    """The stop string that is completed first; the longest of several that end at one place."""

    end: int
    """One past its last character."""
    stop: str


class StopAutomaton:
    """The stop strings of one request, none of them empty.

    Building it takes time and memory in proportion to their characters. It is immutable: the
    choices of a request share it, and each has its own state.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._next: dict[int, int] = {}
        """The next state by (state, character), where a stop string continues."""
        self._fallbacks = [START]
        """By state: the state of the longest shorter suffix that is a prefix of a stop string."""
        self._stops: list[str | None] = [None]
        """By state: the longest stop string that is completed there."""
        self._num_held = [0]
        """By state: the length of the text's end that may become a stop string."""
        self._first_characters = frozenset(stop[0] for stop in stops)
        self._link(self._add_all(stops))

    def find(self, text: str, state: int, may_stop: bool = True) -> tuple[Match | None, int]:
        """The first match and the state after it; without a match, the state after the text.

        may_stop: False ignores stop strings that are completed in this text.
        """
        if state == START and self._first_characters.isdisjoint(text):
            return None, START
        following, fallbacks, stops = self._next, self._fallbacks, self._stops
        for end, character in enumerate(text, start=1):
            code = ord(character)
            # A state's depth is the length of its suffix. Each character adds one at most and
            # each fallback removes one at least, so there are no more fallbacks than characters.
            while (found := following.get(state * _KEY_STRIDE + code)) is None and state != START:
                state = fallbacks[state]
            state = found or START
            if may_stop and (stop := stops[state]) is not None:
                return Match(end, stop), state
        return None, state

    def num_held(self, state: int) -> int:
        """The number of characters at the text's end that are a proper prefix of a stop string: of
        the longest one."""
        return self._num_held[state]

    def _add_all(self, stops: tuple[str, ...]) -> list[list[tuple[int, int]]]:
        """Create the states; returns (key in ``_next``, state) by depth."""
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
        """Compute the fallbacks, by increasing depth, and the tables that depend on them."""
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
                if self._num_held[state] == 0:  # no stop string continues from here
                    self._num_held[state] = self._num_held[fallback]
