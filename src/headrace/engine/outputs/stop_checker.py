"""Finds stop strings in text that comes in pieces, and holds back what may be the start of one.

Knows no tokens; how the text was cut into pieces makes no difference to what it finds.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Checked:
    """What may go out now, and the stop string that ended the text, if one did."""

    text: str
    stop: str | None = None


class StopChecker:
    """Watches one output for the first stop string to be completed.

    Where several are completed by the same character, the longest one counts.
    """

    def __init__(self, stop: tuple[str, ...], include_stop_str: bool = False) -> None:
        self._stop = sorted(stop, key=len, reverse=True)
        self._include_stop_str = include_stop_str
        self._max_tail = max((len(each) for each in stop), default=1) - 1
        self._tail = ""
        """The end of the text so far: as much as a stop string may reach back into."""
        self._num_held = 0
        """Characters at the end of the tail that have not gone out."""

    def push(self, text: str, may_stop: bool = True) -> Checked:
        """Take the next piece. No stop string ends in it if ``may_stop`` is false, as before
        ``min_tokens``; one that begins in it may still be completed by a later piece."""
        window = self._tail + text
        first_held = len(self._tail) - self._num_held
        if may_stop:
            match = self._first_match(window)
            if match is not None:
                end = match.end if self._include_stop_str else match.start
                self._tail, self._num_held = "", 0
                return Checked(window[first_held:end], match.stop)
        num_held = 0 if self._include_stop_str else self._num_possible_start(window)
        ready = window[first_held : len(window) - num_held]
        self._tail = window[max(0, len(window) - self._max_tail) :]
        self._num_held = num_held
        return Checked(ready)

    def flush(self) -> str:
        """What was held back, when no more text will come."""
        held = self._tail[len(self._tail) - self._num_held :]
        self._num_held = 0
        return held

    def _first_match(self, window: str) -> "_Match | None":
        """The match that ends first, after the tail; what ended within the tail was passed over."""
        first: _Match | None = None
        for stop in self._stop:
            start = window.find(stop, max(0, len(self._tail) - len(stop) + 1))
            # Longer ones come first, so that of two with the same end the longer one stays.
            if start >= 0 and (first is None or start + len(stop) < first.end):
                first = _Match(start, start + len(stop), stop)
        return first

    def _num_possible_start(self, window: str) -> int:
        """The length of the longest end of the window with which some stop string begins."""
        longest = 0
        for stop in self._stop:
            for length in range(min(len(stop) - 1, len(window)), longest, -1):
                if window.endswith(stop[:length]):
                    longest = length
                    break
        return longest


@dataclass(frozen=True, slots=True)
class _Match:
    start: int
    end: int
    stop: str
