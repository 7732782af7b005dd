"""Cuts streamed text at the first stop string, and holds back text that may begin one.

The result does not depend on how the text is split into pieces.
"""

from dataclasses import dataclass

from headrace.engine.outputs.stop_automaton import START, StopAutomaton


@dataclass(frozen=True, slots=True)
class Checked:
    """The text to emit now, and the stop string that ended it, if one did."""

    text: str
    stop: str | None = None


class StopChecker:
    """Searches one output for the first completed stop string.

    If one character completes several, the longest one counts.
    """

    def __init__(self, stops: StopAutomaton, include_stop_str: bool = False) -> None:
        self._stops = stops
        self._include_stop_str = include_stop_str
        self._state = START
        self._held = ""
        """The end of the text that is not emitted yet."""

    def push(self, text: str, may_stop: bool = True) -> Checked:
        """Add the next piece. With ``may_stop`` false, as before ``min_tokens``, no stop string
        ends in it; one that begins in it may still be completed by a later piece."""
        match, self._state = self._stops.find(text, self._state, may_stop)
        if match is not None:
            ready = self._held + text[: match.end]
            self._held = ""
            if not self._include_stop_str:
                # The part of the stop string in earlier pieces is held, so it can be cut.
                ready = ready[: len(ready) - len(match.stop)]
            return Checked(ready, match.stop)
        if self._include_stop_str:
            return Checked(text)
        ready = self._held + text
        num_ready = len(ready) - self._stops.num_held(self._state)
        self._held = ready[num_ready:]
        return Checked(ready[:num_ready])

    def flush(self) -> str:
        """The text that was held back, after the last piece."""
        held, self._held = self._held, ""
        return held
