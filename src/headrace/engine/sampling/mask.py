"""Applies the masks of grammars to logits."""

import sys
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from headrace.engine.grammar.token_masks import TokenMasks, Words


def apply_masks(logits: Tensor, request_ids: Sequence[str], masks: TokenMasks) -> None:
    """Set the logits [R, V] of tokens that are not allowed to minus infinity, in place.

    request_ids: those of the rows of logits. Those with a mask come in the masks' order.
    """
    rows = masks.rows_of(request_ids)
    if not rows.of_logits:
        return
    banned = _banned(masks.bits if rows.is_all else masks.bits[rows.of_masks], logits)
    if len(rows.of_logits) == logits.shape[0]:
        logits.masked_fill_(banned, -torch.inf)
        return
    index = torch.tensor(rows.of_logits, device=logits.device)
    logits.index_copy_(0, index, logits.index_select(0, index).masked_fill_(banned, -torch.inf))


def _banned(bits: Words, logits: Tensor) -> Tensor:
    """[r, V] bool, from [r, W] bits of allowed tokens. Bits travel to a device packed."""
    vocab_size = logits.shape[1]
    inverted = np.invert(bits)
    if logits.device.type == "cpu" and sys.byteorder == "little":
        flat = np.unpackbits(inverted.view(np.uint8).reshape(-1), bitorder="little")
        unpacked = torch.from_numpy(flat.view(np.bool_))
    else:
        words = torch.from_numpy(inverted).to(logits.device, non_blocking=True)
        places = torch.arange(32, dtype=torch.int32, device=logits.device)
        unpacked = ((words.unsqueeze(-1) >> places) & 1).bool()
    return unpacked.reshape(len(bits), -1)[:, :vocab_size]
