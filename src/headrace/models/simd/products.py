"""Products of activations with packed weights, and what is fused to them.

A packed weight [N, K] lies as [N / 32 blocks, K, 2 vectors, 16 columns] (bfloat16: K / 2 pairs of
k), so that one tile reads it front to back. N is padded to 32 with zeros, bfloat16's K to 2.
Knows nothing of layers: models.ops.cpu_ops calls it with addresses.
"""

from typing import Any

import numpy as np

from headrace.models.simd import vectors
from headrace.models.simd.jit import Task, subroutine
from headrace.models.simd.scalars import address_of, element_bytes, load_i64
from headrace.models.simd.thread_pool import ThreadPool
from headrace.models.simd.tile import max_rows, multiply_tile
from headrace.models.simd.vectors import BF16, FP32, Element

COLUMNS = 32
"""Columns of one block of packed weights."""

_TASKS_PER_THREAD = 16
"""Enough for the threads to end together, few enough that taking them costs nothing."""


def linear(
    pool: ThreadPool,
    tag: Element,
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
    operands = (x, x_stride, w, num_k, num_blocks, out, out_stride, num_rows, accumulate)
    _share_out(pool, _LINEAR[type(tag)], num_blocks, num_rows, operands)


def gated_linear(
    pool: ThreadPool,
    tag: Element,
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
    operands = (x, x_stride, w, num_k, num_blocks, out, out_stride, num_rows, False)
    _share_out(pool, _GATED_LINEAR[type(tag)], num_blocks, num_rows, operands)


def _share_out(
    pool: ThreadPool, task: Task, num_blocks: int, num_rows: int, operands: tuple[int, ...]
) -> None:
    """Cut blocks and rows into tasks, and do them."""
    num_parts = _num_row_parts(pool.num_threads, num_blocks, num_rows)
    num_tasks = min(num_blocks * num_parts, _TASKS_PER_THREAD * pool.num_threads)
    pool.run(task, num_tasks, (*operands, num_parts, num_tasks))


@Task
def _linear_bf16(arguments: int, task: int) -> None:
    _linear(BF16, False, arguments, task)


@Task
def _linear_fp32(arguments: int, task: int) -> None:
    _linear(FP32, False, arguments, task)


@Task
def _gated_linear_bf16(arguments: int, task: int) -> None:
    _linear(BF16, True, arguments, task)


@Task
def _gated_linear_fp32(arguments: int, task: int) -> None:
    _linear(FP32, True, arguments, task)


_LINEAR = {np.uint16: _linear_bf16, np.float32: _linear_fp32}
_GATED_LINEAR = {np.uint16: _gated_linear_bf16, np.float32: _gated_linear_fp32}


@subroutine
def _linear(tag: Any, gated: bool, arguments: int, task: int) -> None:
    """One task: an even share of all pairs of a block of columns and a part of the rows."""
    x = load_i64(arguments)
    x_stride = load_i64(arguments + 8)
    w = load_i64(arguments + 16)
    num_k = load_i64(arguments + 24)
    num_blocks = load_i64(arguments + 32)
    out = load_i64(arguments + 40)
    out_stride = load_i64(arguments + 48)
    num_rows = load_i64(arguments + 56)
    accumulate = load_i64(arguments + 64) != 0
    num_parts = load_i64(arguments + 72)
    num_tasks = load_i64(arguments + 80)
    block_bytes = num_k * 2 * vectors.VECTOR_BYTES
    num_pairs = num_blocks * num_parts
    for pair in range(num_pairs * task // num_tasks, num_pairs * (task + 1) // num_tasks):
        block = pair // num_parts
        part = pair % num_parts
        first = num_rows * part // num_parts
        last = num_rows * (part + 1) // num_parts
        columns = w + block * block_bytes
        rows = x + first * x_stride
        if gated:
            target = out + first * out_stride + block * vectors.LANES * element_bytes(tag)
            _gated_block(tag, last - first, rows, x_stride, columns, num_k, target, out_stride)
        else:
            target = out + first * out_stride + block * 2 * vectors.VECTOR_BYTES
            _block(
                tag, last - first, rows, x_stride, columns, num_k, target, out_stride, accumulate
            )


@subroutine
def _block(
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
def _gated_block(
    tag: Any,
    num_rows: int,
    x: int,
    x_stride: int,
    columns: int,
    num_k: int,
    out: int,
    out_stride: int,
) -> None:
    """All rows of one block of gate and up, sixteen columns of each."""
    scratch = np.empty(8 * COLUMNS, np.float32)
    both = address_of(scratch)
    both_stride = 2 * vectors.VECTOR_BYTES
    num_tiles = (num_rows + max_rows() - 1) // max_rows()
    for tile in range(num_tiles):
        row = num_rows * tile // num_tiles
        end = num_rows * (tile + 1) // num_tiles
        _block(
            tag,
            end - row,
            x + row * x_stride,
            x_stride,
            columns,
            num_k,
            both,
            both_stride,
            False,
        )
        for i in range(end - row):
            gate = vectors.load(both + i * both_stride)
            up = vectors.load(both + i * both_stride + vectors.VECTOR_BYTES)
            vectors.store_element(tag, out + (row + i) * out_stride, _silu(gate, up))


@subroutine
def _silu(gate: Any, up: Any) -> Any:
    """gate / (1 + e**-gate) * up."""
    one = vectors.splat(1.0)
    negative = vectors.multiply(gate, vectors.splat(-1.0))
    return vectors.multiply(vectors.divide(gate, vectors.add(one, vectors.exp(negative))), up)


def _num_row_parts(num_threads: int, num_blocks: int, num_rows: int) -> int:
    """Into how many parts to cut the rows, so that there are tasks enough for the threads.

    Weights are read once for each part: rows are only cut where each part keeps enough of them.
    """
    parts = 1
    while num_blocks * parts < 8 * num_threads and num_rows // (2 * parts) >= 32:
        parts *= 2
    return parts
