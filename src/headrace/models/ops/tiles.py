"""Matrices in the order in which models.simd.matmul reads them."""

import torch
from torch import Tensor
from torch.nn import functional

from headrace.core.errors import UnsupportedModelError
from headrace.models import large_pages
from headrace.models.simd import vectors
from headrace.models.simd.matmul import COLUMNS


def interleave(gate: Tensor, up: Tensor) -> Tensor:
    """[2 N, K]: sixteen rows of gate, the same sixteen of up, and so on; N padded to 16."""
    rows = -(-gate.shape[0] // vectors.LANES) * vectors.LANES
    pad = (0, 0, 0, rows - gate.shape[0])
    halves = [functional.pad(m, pad).view(-1, 1, vectors.LANES, m.shape[1]) for m in (gate, up)]
    return torch.cat(halves, dim=1).reshape(2 * rows, gate.shape[1])


def tiles_of(weight: Tensor) -> Tensor:
    """[N, K] to [N / 32, K / g, 32, g], N padded to 32 with zeros."""
    group = 4 // weight.element_size()
    num_columns, num_k = weight.shape
    if num_k % group:
        raise UnsupportedModelError(f"A layer's input size must be even in bfloat16: {num_k}.")
    padded = functional.pad(weight, (0, 0, 0, -num_columns % COLUMNS))
    blocks = padded.view(-1, COLUMNS, num_k // group, group)
    return large_pages.place(blocks.transpose(1, 2))
