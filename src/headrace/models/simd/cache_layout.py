"""Where keys and values lie in the CPU's paged cache.

One layer's keys are [num_blocks, kv_heads, head_dim / g, block_size, g], its values
[num_blocks, kv_heads, block_size / g, padded_dim, g], where g values fill four bytes (2 for
bfloat16, 1 for float32). So both are packed weights to multiply_tile: keys are columns of the
score product, dimensions are columns of the output product. padded_dim is head_dim rounded up to
the 32 columns of a tile.
"""

from typing import Any

from headrace.models.simd.jit import subroutine
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
