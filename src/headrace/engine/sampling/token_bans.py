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

    def apply(self, logits: Tensor) -> None:
        """Set the banned logits of the row to -inf, in place; logits [r, V] float32."""
        mine = logits[self.row]  # [V], a view
        if self.allowed is not None:
            kept = mine[self.allowed]
            mine.fill_(-torch.inf)
            mine[self.allowed] = kept
        for token_id in _bad_words_ends(self.request):
            if token_id < len(mine):
                mine[token_id] = -torch.inf


def bans_of(requests: Sequence[RequestState], device: torch.device) -> list[TokenBans]:
    """The bans of the rows that have any."""
    found = []
    for row, request in enumerate(requests):
        if request.params.has_token_bans:
            ids = request.params.allowed_token_ids
            allowed = torch.tensor(ids, device=device) if ids else None
            found.append(TokenBans(row, request, allowed))
    return found


def _bad_words_ends(request: RequestState) -> Iterator[int]:
    """The last tokens of the sequences whose other tokens end the output."""
    token_ids, num_output = request.token_ids, request.num_output_tokens
    for *before, last in request.params.bad_words_token_ids:
        num = len(before)
        if num == 0 or (num <= num_output and token_ids[-num:] == before):
            yield last
