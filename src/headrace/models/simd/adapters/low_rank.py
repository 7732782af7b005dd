"""Low-rank updates of a product's rows: out += (x @ A.T) @ B.T, with A and B of each row's adapter.

LoRA (Hu et al., 2021, arXiv:2106.09685), for several adapters in one call, as Punica (Chen et al.,
2023, arXiv:2310.18547) does it on GPUs. A task is a chunk: up to eight consecutive rows of one
adapter. Its hidden values (x @ A.T) stay on the stack. A and B are packed as models.simd.matmul
reads weights. A row's sums are taken in the same order whatever rows are beside it.
"""

from typing import Any, NamedTuple

import numpy as np

from headrace.models.simd import vectors
from headrace.models.simd.jit import subroutine
from headrace.models.simd.kernel import check_rows, constructor, kernel_of, read
from headrace.models.simd.matmul import COLUMNS, multiply_block
from headrace.models.simd.matmul_tile import MAX_ROWS
from headrace.models.simd.scalars import element_bytes, load_i64, stack_memory
from headrace.models.simd.thread_pool import ThreadPool
from headrace.models.simd.vectors import BF16, FP32, Element

CHUNK_ROWS = MAX_ROWS
"""Most rows of one chunk."""
MAX_HIDDEN = 768
"""Most rows of A: three projections of rank 256 in one weight."""

CHUNK_FIELDS = 3
"""Of a chunk: slot, first row, number of rows."""
SLOT_FIELDS = 5
"""Of a slot: address of A, its blocks of columns, address of B, its k, address of B's ranges.

All are int64; 0 as the address of A: the adapter leaves this weight alone. k counts elements, or
pairs of them for bfloat16. Ranges: for each block of out the first k and the end of those that are
not zero in B.
"""

_WORD = 8
_K_BYTES = 4
_BLOCK_BYTES = 2 * vectors.VECTOR_BYTES


class _Update(NamedTuple):
    x: int
    x_stride: int
    num_k: int
    slots: int
    chunks: int
    out: int
    out_stride: int
    num_blocks: int


_update = constructor(_Update)


def add_low_rank(
    pool: ThreadPool,
    tag: Element,
    *,
    x: int,
    x_stride: int,
    num_k: int,
    num_rows: int,
    slots: int,
    chunks: int,
    num_chunks: int,
    out: int,
    out_stride: int,
    num_blocks: int,
) -> None:
    """Add to out, [num_rows, 32 * num_blocks] float32, the update of each chunk's rows.

    x: [num_rows, K] of the tag's type; strides in bytes. num_k: K, or pairs of it for bfloat16.
    slots: address of [slots, SLOT_FIELDS] int64. chunks: of [num_chunks, CHUNK_FIELDS] int64, each
    row in at most one of them.
    Raises ValueError, with nothing written, for negative sizes and for strides that are shorter
    than a row.
    """
    check_rows("x", num_rows, x_stride, num_k * _K_BYTES)
    check_rows("out", num_rows, out_stride, num_blocks * _BLOCK_BYTES)
    arguments = _update(
        x=x,
        x_stride=x_stride,
        num_k=num_k,
        slots=slots,
        chunks=chunks,
        out=out,
        out_stride=out_stride,
        num_blocks=num_blocks,
    )
    pool.run(_KERNELS[type(tag)], num_chunks, arguments)


@kernel_of(_Update)
def _add_low_rank_bf16(arguments: int, task: int) -> bool:
    return _add_low_rank(BF16, arguments, task)


@kernel_of(_Update)
def _add_low_rank_fp32(arguments: int, task: int) -> bool:
    return _add_low_rank(FP32, arguments, task)


_KERNELS = {np.uint16: _add_low_rank_bf16, np.float32: _add_low_rank_fp32}


@subroutine
def _add_low_rank(tag: Any, arguments: int, task: int) -> bool:
    """One chunk."""
    update = read(_Update, arguments)
    chunk = update.chunks + task * CHUNK_FIELDS * _WORD
    slot = update.slots + load_i64(chunk) * SLOT_FIELDS * _WORD
    first = load_i64(chunk + _WORD)
    num_rows = load_i64(chunk + 2 * _WORD)
    if load_i64(slot) == 0:
        return True
    if load_i64(slot + _WORD) * COLUMNS > MAX_HIDDEN or num_rows > CHUNK_ROWS:
        raise ValueError("an adapter's rank or a chunk is too large")
    hidden = stack_memory(CHUNK_ROWS * MAX_HIDDEN * 4)
    sums = stack_memory(CHUNK_ROWS * COLUMNS * 4)
    _shrink(
        tag,
        num_rows,
        update.x + first * update.x_stride,
        update.x_stride,
        update.num_k,
        slot,
        hidden,
        sums,
    )
    _expand(
        tag,
        num_rows,
        hidden,
        slot,
        update.out + first * update.out_stride,
        update.out_stride,
        update.num_blocks,
    )
    return True


@subroutine
def _shrink(
    tag: Any,
    num_rows: int,
    x: int,
    x_stride: int,
    num_k: int,
    slot: int,
    hidden: int,
    sums: int,
) -> None:
    """hidden [num_rows, MAX_HIDDEN] of the tag's type = x @ A.T."""
    a, num_blocks = load_i64(slot), load_i64(slot + _WORD)
    size = element_bytes(tag)
    for block in range(num_blocks):
        columns = a + block * num_k * _BLOCK_BYTES
        multiply_block(tag, num_rows, x, x_stride, columns, num_k, sums, _BLOCK_BYTES, False)
        for i in range(num_rows):
            target = hidden + (i * MAX_HIDDEN + block * COLUMNS) * size
            source = sums + i * _BLOCK_BYTES
            vectors.store_element(tag, target, vectors.load(source))
            vectors.store_element(
                tag,
                target + vectors.LANES * size,
                vectors.load(source + vectors.VECTOR_BYTES),
            )


@subroutine
def _expand(
    tag: Any,
    num_rows: int,
    hidden: int,
    slot: int,
    out: int,
    out_stride: int,
    num_blocks: int,
) -> None:
    """out += hidden @ B.T, without the parts of B that are zero."""
    b, num_k, ranges = (
        load_i64(slot + 2 * _WORD),
        load_i64(slot + 3 * _WORD),
        load_i64(slot + 4 * _WORD),
    )
    for block in range(num_blocks):
        begin = load_i64(ranges + block * 2 * _WORD)
        end = load_i64(ranges + (block * 2 + 1) * _WORD)
        if begin < end:
            multiply_block(
                tag,
                num_rows,
                hidden + begin * _K_BYTES,
                MAX_HIDDEN * element_bytes(tag),
                b + (block * num_k + begin) * _BLOCK_BYTES,
                end - begin,
                out + block * _BLOCK_BYTES,
                out_stride,
                True,
            )
