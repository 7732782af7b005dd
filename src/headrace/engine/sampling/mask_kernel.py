"""The masks of grammars on a CPU: a function that reads them packed, compiled at run time.

Unpacking the bits for torch's ``masked_fill_`` takes thirty times as long.
"""

import numpy as np
import numpy.typing as npt

from headrace.models.simd.jit import detached

Elements = npt.NDArray[np.int32] | npt.NDArray[np.int16]
Places = npt.NDArray[np.int64]

ALL = np.int32(-1)
"""A word that allows all its tokens."""


@detached
def ban(
    logits: Elements,
    rows: Places,
    masks: npt.NDArray[np.int32],
    mask_rows: Places,
    vocab_size: int,
    minus_infinity: int,
) -> None:
    """Write minus infinity over the logits of tokens that are not allowed.

    logits: [R, at least vocab_size], the bits of floats; contiguous.
    rows: rows of the logits; mask_rows: for each, the row of its mask.
    masks: [M, W], bit t % 32 of word t // 32 says whether token t is allowed; contiguous.
    minus_infinity: its bits, of the logits' type.
    """
    banned = logits.dtype.type(minus_infinity)
    for index in range(len(rows)):
        row = rows[index]
        mask = mask_rows[index]
        for word in range((vocab_size + 31) // 32):
            allowed = masks[mask, word]
            if allowed == ALL:
                continue
            first = 32 * word
            if first + 32 <= vocab_size:
                for bit in range(32):  # of constant length, so that it becomes vector instructions
                    kept = (allowed >> bit) & 1
                    logits[row, first + bit] = logits[row, first + bit] if kept else banned
            else:
                for bit in range(vocab_size - first):
                    if not (allowed >> bit) & 1:
                        logits[row, first + bit] = banned
