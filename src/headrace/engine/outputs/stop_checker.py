"""Cuts text that comes in pieces at the first stop string, and holds back what may begin one.

Knows no tokens; how the text was cut into pieces makes no difference to what it finds.
"""

from dataclasses import dataclass

from headrace.engine.outputs.stop_automaton import START, StopAutomaton


@dataclass(frozen=True, slots=True)
class Checked:
    """What may go out now, and the stop string that ended the text, if one did."""

    text: str
    stop: str | None = None


class StopChecker:
    """Watches one output for the first stop string to be completed.

    Where several are completed by the same character, the longest one counts.
    """

    def __init__(self, stops: StopAutomaton, include_stop_str: bool = False) -> None:
        self._stops = stops
        self._include_stop_str = include_stop_str
        self._state = START
        self._held = ""
        """The end of the text that has not gone out."""

    def push(self, text: str, may_stop: bool = True) -> Checked:
        """Take the next piece. No stop string ends in it if ``may_stop`` is false, as before
        ``min_tokens``; one that begins in it may still be completed by a later piece."""
        match, self._state = self._stops.find(text, self._state, may_stop)
        if match is not None:
            ready = self._held + text[: match.end]
            self._held = ""
            if not self._include_stop_str:
                # All of it that came before this piece is held: it was the beginning of this stop.
                ready = ready[: len(ready) - len(match.stop)]
            return Checked(ready, match.stop)
        if self._include_stop_str:
            return Checked(text)
        ready = self._held + text
        num_ready = len(ready) - self._stops.num_held(self._state)
        self._held = ready[num_ready:]
        return Checked(ready[:num_ready])

    def flush(self) -> str:
        """What was held back, when no more text will come."""
        held, self._held = self._held, ""
        return held
