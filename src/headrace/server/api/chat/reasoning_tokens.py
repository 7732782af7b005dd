"""Counts the output tokens that are reasoning, for the usage of APIs that report them."""

from collections.abc import Sequence

from headrace.core.generation.outputs import ChoiceDelta
from headrace.server.parsing.events import OutputEvent, ReasoningDelta


class ReasoningTokens:
    """Of one choice. Tokens without text of their own, such as markers, count as what follows."""

    def __init__(self) -> None:
        self.num_tokens = 0
        self._num_open = 0

    def add(self, delta: ChoiceDelta, events: Sequence[OutputEvent]) -> None:
        """events: those of this delta."""
        self._num_open += len(delta.token_ids)
        if any(isinstance(event, ReasoningDelta) for event in events):
            self.num_tokens += self._num_open
        if events:
            self._num_open = 0
