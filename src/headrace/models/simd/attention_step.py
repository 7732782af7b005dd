"""What the attention kernels share: the layout of the paged cache, and the step's sequences.

One layer's keys are [num_blocks, kv_heads, head_dim / g, block_size, g], its values
[num_blocks, kv_heads, block_size / g, padded_dim, g], where g values fill four bytes (2 for
bfloat16, 1 for float32). So both are packed weights to multiply_tile: keys are columns of the
score product, dimensions are columns of the output product. padded_dim is head_dim rounded up to
the 32 columns of a tile.

A step is packed once; the call of each layer passes its address.
"""

from typing import Any, NamedTuple

import numpy as np

from headrace.models.simd import vectors
from headrace.models.simd.jit import subroutine
from headrace.models.simd.kernel import packer
from headrace.models.simd.matmul import COLUMNS


def padded_dim(head_dim: int) -> int:
    """head_dim rounded up to whole tiles."""
    return (head_dim + COLUMNS - 1) // COLUMNS * COLUMNS


@subroutine
def key_offset(group: int, block_size: int, d: int, slot: int) -> Any:
    """Of one value, in bytes from the start of its block and head."""
    return (d // group * block_size + slot) * 4 + d % group * (4 // group)


@subroutine
def value_offset(group: int, padded_dim: int, d: int, slot: int) -> Any:
    """Of one value, in bytes from the start of its block and head."""
    return (slot // group * padded_dim + d) * 4 + slot % group * (4 // group)


class Step(NamedTuple):
    """All integers except the scales. The arrays at the addresses must outlive the step."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    padded_dim: int
    """head_dim rounded up to whole tiles, as in the cache."""
    block_size: int
    num_blocks: int
    """Of the cache."""
    num_tokens: int
    positions: int
    """[num_tokens] int32."""
    slots: int
    """[num_tokens] int32: block_id * block_size + offset, where keys and values go."""
    num_tiles: int
    """A sequence's rows (query tokens times the heads that share a key head) are cut into tiles
    of at most max_rows()."""
    tile_seqs: int
    """[num_tiles] int32: each tile's sequence."""
    tile_rows: int
    """[num_tiles] int32: each tile's first row within its sequence."""
    query_starts: int
    """[num_seqs + 1] int32, see PagedBatch; so are the next two."""
    context_lens: int
    block_tables: int
    table_stride: int
    """Bytes from one sequence's blocks to the next one's."""
    queries: int
    """[num_tokens, num_heads, head_dim] of the tag's type: rotated by rotate_and_store."""
    out: int
    """The same shape: written by attend."""
    scale: float
    """Of scores; with a softcap, the softcap."""
    tanh_scale: float
    """Scores s become tanh(tanh_scale * s) before their scale; 0 leaves them."""


_pack_into = packer(Step)


class PackedStep:
    """The memory from which kernels read the step that was packed last."""

    def __init__(self) -> None:
        self._memory = np.zeros(len(Step._fields), np.int64)
        self.address: int = self._memory.ctypes.data
        self.num_tokens = 0
        self.num_attention_tasks = 0
        self.is_capped = False
        """Whether scores go through tanh."""
        self.qkv_bytes = 0
        """Of one token's queries, keys and values in float32."""

    def pack(self, step: Step) -> None:
        """Raises ValueError for shapes that the kernels do not compute."""
        _check_shapes(step)
        _pack_into(self._memory, 0, *step)
        self.num_tokens = step.num_tokens
        self.num_attention_tasks = step.num_tiles * step.num_kv_heads
        self.is_capped = step.tanh_scale > 0
        self.qkv_bytes = 4 * (step.num_heads + 2 * step.num_kv_heads) * step.head_dim


def _check_shapes(step: Step) -> None:
    if min(step.num_heads, step.num_kv_heads, step.head_dim, step.block_size) < 1:
        raise ValueError(f"sizes must be positive: {step}")
    if step.num_heads % step.num_kv_heads:
        raise ValueError(f"{step.num_heads} heads cannot share {step.num_kv_heads} key heads")
    if step.head_dim % 2:
        raise ValueError(f"head_dim must be even: {step.head_dim}")
    if step.padded_dim != padded_dim(step.head_dim):
        raise ValueError(f"padded_dim is {step.padded_dim}, for a head_dim of {step.head_dim}")
    if step.block_size % vectors.LANES:
        raise ValueError(f"block_size must be a multiple of {vectors.LANES}: {step.block_size}")
    if min(step.num_blocks, step.num_tokens, step.num_tiles, step.table_stride) < 0:
        raise ValueError(f"counts must not be negative: {step}")
