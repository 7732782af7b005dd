"""What the attention kernels share in all layers of one step: its sequences, and the shapes.

It is packed once a step; the call of a layer hands over its address.
"""

from typing import NamedTuple

import numpy as np

from headrace.models.simd import vectors
from headrace.models.simd.cache_layout import padded_dim
from headrace.models.simd.kernel import packer


class Step(NamedTuple):
    """Integers but for the scale. The arrays of the addresses must outlive the step."""

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
    """Of scores."""


_pack_into = packer(Step)


class PackedStep:
    """Where kernels read the step that was packed last."""

    def __init__(self) -> None:
        self._memory = np.zeros(len(Step._fields), np.int64)
        self.address: int = self._memory.ctypes.data
        self.num_tokens = 0
        self.num_attention_tasks = 0
        self.qkv_bytes = 0
        """Of one token's queries, keys and values in float32."""

    def pack(self, step: Step) -> None:
        """Raises ValueError for shapes that the kernels do not compute."""
        _check_shapes(step)
        _pack_into(self._memory, 0, *step)
        self.num_tokens = step.num_tokens
        self.num_attention_tasks = step.num_tiles * step.num_kv_heads
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
