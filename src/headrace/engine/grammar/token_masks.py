"""The masks of one step: which tokens the grammars of its requests allow next."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class MaskRows:
    """The masks that belong to a batch."""

    of_logits: list[int]
    """Places in the batch, ascending."""
    of_masks: list[int]
    """For each of these, the row of its mask."""
    is_all: bool
    """Whether these are all masks, in their order."""


@dataclass(frozen=True, slots=True)
class TokenMasks:
    """One row of bits for each request with a grammar that samples in this step."""

    request_ids: list[str]
    """In the order of the step's entries."""
    bits: Words
    """[R, W]: bit t % 32 of word t // 32 says whether token t is allowed. Bits beyond the
    vocabulary have no meaning."""

    def rows_of(self, request_ids: Sequence[str]) -> MaskRows:
        """Which of these requests have a mask."""
        row_of = {request_id: row for row, request_id in enumerate(self.request_ids)}
        found = [
            (place, row_of[request_id])
            for place, request_id in enumerate(request_ids)
            if request_id in row_of
        ]
        of_masks = [row for _, row in found]
        return MaskRows(
            of_logits=[place for place, _ in found],
            of_masks=of_masks,
            is_all=of_masks == list(range(len(self.request_ids))),
        )

    def allows(self, row: int, token_id: int) -> bool:
        """Whether a row's mask allows this token."""
        return bool((int(self.bits[row, token_id // 32]) >> (token_id % 32)) & 1)
