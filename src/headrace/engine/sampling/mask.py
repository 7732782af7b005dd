"""Applies the masks of grammars to logits."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from headrace.engine.grammar.token_masks import MaskRows, TokenMasks, Words

_BITS: dict[torch.dtype, tuple[torch.dtype, int]] = {
    torch.float32: (torch.int32, int(np.float32(-np.inf).view(np.int32))),
    torch.bfloat16: (torch.int16, int(np.float32(-np.inf).view(np.int32)) >> 16),
    torch.float16: (torch.int16, int(np.float16(-np.inf).view(np.int16))),
}
"""By the type of logits: the type of its bits, and those of minus infinity."""


def apply_masks(logits: Tensor, request_ids: Sequence[str], masks: TokenMasks) -> None:
    """Set the logits [R, V] of tokens that are not allowed to minus infinity, in place.

    request_ids: those of the rows of logits. Those with a mask come in the masks' order.
    """
    rows = masks.rows_of(request_ids)
    if not rows.of_logits:
        return
    if logits.device.type == "cpu" and logits.dtype in _BITS:
        _apply_packed(logits, rows, masks.bits)
    else:
        _apply_unpacked(logits, rows, masks.bits)


def warm_up_masks(logits: Tensor) -> None:
    """Compile what ``apply_masks`` needs for logits like these, which are overwritten."""
    bits = np.zeros((1, (logits.shape[1] + 31) // 32), np.int32)
    apply_masks(logits[-1:], ["warm-up"], TokenMasks(["warm-up"], bits))


def _apply_packed(logits: Tensor, rows: MaskRows, bits: Words) -> None:
    from headrace.engine.sampling.mask_kernel import ban

    bits_type, minus_infinity = _BITS[logits.dtype]
    whole = _whole_rows(logits)
    ban(
        whole.view(bits_type).numpy(),
        np.array(rows.of_logits, np.int64),
        np.ascontiguousarray(bits),
        np.array(rows.of_masks, np.int64),
        logits.shape[1],
        minus_infinity,
    )
    if whole.data_ptr() != logits.data_ptr():
        logits.copy_(whole)


def _whole_rows(logits: Tensor) -> Tensor:
    """The logits with what pads their rows; a copy, if they lie otherwise in memory."""
    num_rows, vocab_size = logits.shape
    stride, step = logits.stride()
    end = logits.storage_offset() + num_rows * stride
    is_padded = step == 1 and stride >= vocab_size
    if is_padded and end * logits.itemsize <= logits.untyped_storage().nbytes():
        return logits.as_strided((num_rows, stride), (stride, 1))
    return logits.contiguous()


def _apply_unpacked(logits: Tensor, rows: MaskRows, bits: Words) -> None:
    banned = _banned(bits if rows.is_all else bits[rows.of_masks], logits)
    if len(rows.of_logits) == logits.shape[0]:
        logits.masked_fill_(banned, -torch.inf)
        return
    index = torch.tensor(rows.of_logits, device=logits.device)
    logits.index_copy_(0, index, logits.index_select(0, index).masked_fill_(banned, -torch.inf))


def _banned(bits: Words, logits: Tensor) -> Tensor:
    """[r, V] bool, from [r, W] bits of allowed tokens, which travel to a device packed."""
    words = torch.from_numpy(np.invert(bits)).to(logits.device, non_blocking=True)
    places = torch.arange(32, dtype=torch.int32, device=logits.device)
    unpacked = ((words.unsqueeze(-1) >> places) & 1).bool()
    return unpacked.reshape(len(bits), -1)[:, : logits.shape[1]]
