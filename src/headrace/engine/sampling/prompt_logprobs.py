"""Log-probabilities of the tokens of prompts, computed chunk by chunk with the prompt."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from headrace.core.generation.outputs import TokenLogprobs
from headrace.engine.request_state import RequestState
from headrace.engine.sampling.logprobs import raw_logprobs
from headrace.scheduler.output import ScheduledRequest, SchedulerOutput

LogitsOf = Callable[[Tensor], Tensor]
"""From rows of the last layer's output [R, H] to logits [R, V]."""


class PromptLogprobs:
    """The requests whose prompts lack log-probabilities. The logits at position p give those of the
    token at p + 1, so that the first token of a prompt has none."""

    def __init__(self, vocab_size: int, max_rows: int) -> None:
        """max_rows: the most rows of logits [R, V] that are held at once."""
        self._vocab_size = vocab_size
        self._max_rows = max_rows
        self._next_positions: dict[str, int] = {}
        """By request id: the first position whose logits are needed."""

    @property
    def are_wanted(self) -> bool:
        """Whether any running request wants them."""
        return bool(self._next_positions)

    def apply(self, step: SchedulerOutput) -> None:
        """Release and add requests as the step says."""
        for request_id in step.released:
            self._next_positions.pop(request_id, None)
        for request in step.admitted:
            if request.num_prompt_logprobs is not None:
                self._next_positions[request.request_id] = request.num_prompt_logprobs

    def compute(
        self,
        entries: Sequence[ScheduledRequest],
        states: Sequence[RequestState],
        hidden: Tensor,
        logits_of: LogitsOf,
    ) -> dict[str, list[TokenLogprobs]]:
        """Those that this step's positions give, in order, by request id.

        hidden: [T, H], request after request.
        """
        found: dict[str, list[TokenLogprobs]] = {}
        first_row = 0
        for entry, state in zip(entries, states, strict=True):
            position = self._next_positions.get(entry.request_id)
            if position is not None:
                first = max(entry.start, position)
                end = min(entry.start + entry.num_tokens, state.num_prompt_tokens - 1)
                row = first_row + first - entry.start
                if first < end:
                    rows = hidden[row : row + end - first]
                    targets = state.token_ids[first + 1 : end + 1]
                    num_top = state.params.prompt_logprobs or 0
                    found[entry.request_id] = self._in_parts(rows, targets, num_top, logits_of)
                    self._next_positions[entry.request_id] = end
                if end == state.num_prompt_tokens - 1:
                    del self._next_positions[entry.request_id]
            first_row += entry.num_tokens
        return found

    def _in_parts(
        self, rows: Tensor, targets: list[int], num_top: int, logits_of: LogitsOf
    ) -> list[TokenLogprobs]:
        num_top = self._vocab_size if num_top == -1 else num_top
        found = []
        for first in range(0, len(targets), self._max_rows):
            part = targets[first : first + self._max_rows]
            logits = logits_of(rows[first : first + len(part)])
            token_ids = torch.tensor(part, device=logits.device)
            found += raw_logprobs(logits, token_ids, [num_top] * len(part))
        return found
