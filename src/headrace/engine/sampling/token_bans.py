"""Tokens that a request never samples: all but its allowed_token_ids, and the ends of bad_words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from headrace.engine.request_state import RequestState


@dataclass(frozen=True, slots=True)
class TokenBans:
    """The bans of one row of a group."""

    row: int
    request: RequestState
    allowed: Tensor | None
    """Token ids; None for all."""
    always: Tensor | None
    """Token ids that are banned at every position; None for none."""
    after: dict[int, list[tuple[int, ...]]]
    """Sequences of several tokens of which the last is banned after the others, by the one before
    the last."""

    def apply(self, logits: Tensor) -> None:
        """Set the banned logits of the row to -inf, in place; logits [r, V] float32."""
        mine = logits[self.row]  # [V], a view
        if self.allowed is not None:
            kept = mine[self.allowed]
            mine.fill_(-torch.inf)
            mine[self.allowed] = kept
        if self.always is not None:
            mine[self.always] = -torch.inf
        for token_id in self._ends():
            mine[token_id] = -torch.inf

    def _ends(self) -> Iterator[int]:
        """The last tokens of the sequences whose other tokens end the output."""
        token_ids, num_output = self.request.token_ids, self.request.num_output_tokens
        if num_output == 0 or not self.after:
            return
        for sequence in self.after.get(token_ids[-1], ()):
            num = len(sequence) - 1
            if num <= num_output and tuple(token_ids[-num:]) == sequence[:-1]:
                yield sequence[-1]


def bans_of(
    requests: Sequence[RequestState], vocab_size: int, device: torch.device
) -> list[TokenBans]:
    """The bans of the rows that have any."""
    return [
        _bans_of(row, request, vocab_size, device)
        for row, request in enumerate(requests)
        if request.params.has_token_bans
    ]


def _bans_of(row: int, request: RequestState, vocab_size: int, device: torch.device) -> TokenBans:
    allowed = request.params.allowed_token_ids
    always: list[int] = []
    after: dict[int, list[tuple[int, ...]]] = {}
    for sequence in request.params.bad_words_token_ids:
        if sequence[-1] >= vocab_size:
            continue  # it can never be sampled
        if len(sequence) == 1:
            always.append(sequence[0])
        else:
            after.setdefault(sequence[-2], []).append(sequence)
    return TokenBans(
        row,
        request,
        torch.tensor(allowed, device=device) if allowed else None,
        torch.tensor(always, device=device) if always else None,
        after,
    )
