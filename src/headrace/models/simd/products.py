"""Products of activations with packed weights, and what is fused to them.

A packed weight [N, K] lies as [N / 32 blocks, K, 2 vectors, 16 columns] (bfloat16: K / 2 pairs of
k), so that one tile reads it front to back. N is padded to 32 with zeros, bfloat16's K to 2.
Knows nothing of layers: models.ops.cpu_ops calls it with addresses.
"""

from typing import Any

import numpy as np
from numba import prange

from headrace.models.simd import vectors
from headrace.models.simd.jit import kernel, subroutine
from headrace.models.simd.scalars import address_of, element_bytes
from headrace.models.simd.tile import max_rows, multiply_tile

COLUMNS = 32
"""Columns of one block of packed weights."""


@kernel
def linear(
    tag: Any,
    num_threads: int,
    x: int,
    x_stride: int,
    w: int,
    num_k: int,
    num_blocks: int,
    out: int,
    out_stride: int,
    num_rows: int,
    accumulate: bool,
) -> None:
    """out [num_rows, 32 * num_blocks] float32 (+)= x @ w.T.

    x: [num_rows, K] of the tag's type; strides in bytes. num_k: K, or pairs of it for bfloat16.
    accumulate: add to what out holds (a residual, or a bias written before).
    """
    block_bytes = num_k * 2 * vectors.VECTOR_BYTES
    num_parts = _num_row_parts(num_threads, num_blocks, num_rows)
    num_tasks = num_blocks * num_parts
    for thread in prange(num_threads):
        for task in range(
            num_tasks * thread // num_threads, num_tasks * (thread + 1) // num_threads
        ):
            block = task // num_parts
            part = task % num_parts
            first = num_rows * part // num_parts
            last = num_rows * (part + 1) // num_parts
            columns = w + block * block_bytes
            _column_block(
                tag,
                last - first,
                x + first * x_stride,
                x_stride,
                columns,
                num_k,
                out + first * out_stride + block * 2 * vectors.VECTOR_BYTES,
                out_stride,
                accumulate,
            )


@kernel
def gated_linear(
    tag: Any,
    num_threads: int,
    x: int,
    x_stride: int,
    w: int,
    num_k: int,
    num_blocks: int,
    out: int,
    out_stride: int,
    num_rows: int,
) -> None:
    """out [num_rows, 16 * num_blocks] of the tag's type = silu(x @ gate.T) * (x @ up.T).

    Each block of w holds sixteen columns of gate, then the same sixteen of up.
    """
    block_bytes = num_k * 2 * vectors.VECTOR_BYTES
    out_bytes = vectors.LANES * element_bytes(tag)
    num_parts = _num_row_parts(num_threads, num_blocks, num_rows)
    num_tasks = num_blocks * num_parts
    for thread in prange(num_threads):
        scratch = np.empty(8 * COLUMNS, np.float32)
        both = address_of(scratch)
        both_stride = 2 * vectors.VECTOR_BYTES
        for task in range(
            num_tasks * thread // num_threads, num_tasks * (thread + 1) // num_threads
        ):
            block = task // num_parts
            part = task % num_parts
            first = num_rows * part // num_parts
            last = num_rows * (part + 1) // num_parts
            columns = w + block * block_bytes
            num_tiles = (last - first + max_rows() - 1) // max_rows()
            for tile in range(num_tiles):
                row = first + (last - first) * tile // num_tiles
                stop = first + (last - first) * (tile + 1) // num_tiles
                multiply_tile(
                    tag,
                    stop - row,
                    False,
                    x + row * x_stride,
                    x_stride,
                    columns,
                    columns + vectors.VECTOR_BYTES,
                    2 * vectors.VECTOR_BYTES,
                    num_k,
                    both,
                    both_stride,
                )
                for i in range(stop - row):
                    gate = vectors.load(both + i * both_stride)
                    up = vectors.load(both + i * both_stride + vectors.VECTOR_BYTES)
                    vectors.store_element(
                        tag, out + (row + i) * out_stride + block * out_bytes, _silu(gate, up)
                    )


@subroutine
def _column_block(
    tag: Any,
    num_rows: int,
    x: int,
    x_stride: int,
    columns: int,
    num_k: int,
    out: int,
    out_stride: int,
    accumulate: bool,
) -> None:
    """All rows of one block of columns, in tiles of nearly equal height."""
    num_tiles = (num_rows + max_rows() - 1) // max_rows()
    for tile in range(num_tiles):
        row = num_rows * tile // num_tiles
        end = num_rows * (tile + 1) // num_tiles
        multiply_tile(
            tag,
            end - row,
            accumulate,
            x + row * x_stride,
            x_stride,
            columns,
            columns + vectors.VECTOR_BYTES,
            2 * vectors.VECTOR_BYTES,
            num_k,
            out + row * out_stride,
            out_stride,
        )


@subroutine
def _silu(gate: Any, up: Any) -> Any:
    """gate / (1 + e**-gate) * up."""
    one = vectors.splat(1.0)
    negative = vectors.multiply(gate, vectors.splat(-1.0))
    return vectors.multiply(vectors.divide(gate, vectors.add(one, vectors.exp(negative))), up)


@subroutine
def _num_row_parts(num_threads: int, num_blocks: int, num_rows: int) -> int:
    """Into how many parts to cut the rows, so that the threads' shares of tasks are even.

    Weights are read once for each part: rows are only cut where each part keeps enough of them.
    """
    parts = 1
    while num_blocks * parts < 8 * num_threads and num_rows // (2 * parts) >= 32:
        parts *= 2
    return parts
