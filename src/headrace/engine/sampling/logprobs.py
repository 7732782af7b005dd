"""Log-probabilities of sampled and of most likely tokens, from the model's unmodified logits."""

from collections.abc import Mapping, Sequence

import msgspec
import torch
from torch import Tensor

from headrace.core.generation.outputs import TokenLogprobs
from headrace.engine.sampling.draw import count_above, top_candidates


def raw_logprobs(
    logits: Tensor,
    token_ids: Tensor,
    num_top: Sequence[int],
    chosen: Mapping[int, Sequence[int]] | None = None,
) -> list[TokenLogprobs]:
    """For each row, the logprob and rank of its token, and its num_top most likely tokens; or for
    the rows in ``chosen``, the tokens given there.

    logits [R, V] of any float type, not changed; token_ids [R]. A token's rank is one more than the
    number of more likely tokens. For a row from which nothing could be sampled, the token may be
    any number, and its entry is undefined.
    """
    logprobs = torch.log_softmax(logits.float(), dim=-1)  # [R, V]
    token_ids = token_ids.clamp(0, logprobs.shape[1] - 1)
    drawn = logprobs.gather(1, token_ids[:, None])  # [R, 1]
    ranks = count_above(logprobs, drawn) + 1  # [R]
    drawn_list: list[float] = drawn.squeeze(1).tolist()
    best = _Best(logprobs, min(max(num_top), logprobs.shape[1]))
    found = [
        TokenLogprobs(token_id, logprob, rank, best.of(row, num))
        for row, (token_id, logprob, rank, num) in enumerate(
            zip(token_ids.tolist(), drawn_list, ranks.tolist(), num_top, strict=True)
        )
    ]
    for row, ids in (chosen or {}).items():
        values: list[float] = logprobs[row, list(ids)].tolist()
        top = tuple(zip(ids, values, strict=True))
        found[row] = msgspec.structs.replace(found[row], top=top)
    return found


class _Best:
    """The most likely tokens of every row, as Python numbers."""

    def __init__(self, logprobs: Tensor, num: int) -> None:
        self._token_ids: list[list[int]] = []
        self._logprobs: list[list[float]] = []
        if num > 0:
            values, token_ids = top_candidates(logprobs, num)  # [R, num]
            self._token_ids = token_ids.tolist()
            self._logprobs = values.tolist()

    def of(self, row: int, num: int) -> tuple[tuple[int, float], ...]:
        if num == 0:
            return ()
        return tuple(zip(self._token_ids[row][:num], self._logprobs[row][:num], strict=True))
