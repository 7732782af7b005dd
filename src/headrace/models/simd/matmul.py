"""Matrix products of activations with packed weights, with fused activations and residual addition.

A packed weight [N, K] lies as [N / 32 blocks, K, 2 vectors, 16 columns] (bfloat16: K / 2 pairs of
k), so that one tile reads it front to back. N is padded to 32 with zeros, bfloat16's K to 2.
models.ops.cpu_ops calls it with addresses.
"""

from typing import Any, NamedTuple

import numpy as np

from headrace.models.simd import vectors
from headrace.models.simd.jit import subroutine
from headrace.models.simd.kernel import check_rows, constructor, kernel_of, read
from headrace.models.simd.matmul_tile import MAX_ROWS, max_rows, multiply_tile
from headrace.models.simd.scalars import element_bytes, stack_memory
from headrace.models.simd.thread_pool import ThreadPool
from headrace.models.simd.vectors import BF16, FP32, Element

COLUMNS = 32
"""Columns of one block of packed weights."""

_BLOCK_BYTES = 2 * vectors.VECTOR_BYTES
"""Of one row of float32 results."""
_K_BYTES = 4
"""Of one element of k to sum over (float32), or of a pair (bfloat16)."""

_TASKS_PER_THREAD = 16
"""Enough for the threads to end together, few enough that taking them costs nothing."""


class _Product(NamedTuple):
    """A product's operands, and into how many parts and tasks it is cut."""

    x: int
    x_stride: int
    w: int
    num_k: int
    num_blocks: int
    out: int
    out_stride: int
    num_rows: int
    accumulate: bool
    num_parts: int
    num_tasks: int


class _Activated(NamedTuple):
    """A product whose columns go through an activation."""

    x: int
    x_stride: int
    w: int
    num_k: int
    num_blocks: int
    bias: int
    activation: int
    out: int
    out_stride: int
    num_rows: int
    num_parts: int
    num_tasks: int


_product = constructor(_Product)
_activated_product = constructor(_Activated)


def linear(
    pool: ThreadPool,
    tag: Element,
    *,
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
    Raises ValueError, with nothing written, for negative sizes and for strides that are shorter
    than a row.
    """
    check_rows("x", num_rows, x_stride, num_k * _K_BYTES)
    check_rows("out", num_rows, out_stride, num_blocks * _BLOCK_BYTES)
    num_parts = _num_row_parts(pool.num_threads, num_blocks, num_rows)
    num_tasks = min(num_blocks * num_parts, _TASKS_PER_THREAD * pool.num_threads)
    arguments = _product(
        x=x,
        x_stride=x_stride,
        w=w,
        num_k=num_k,
        num_blocks=num_blocks,
        out=out,
        out_stride=out_stride,
        num_rows=num_rows,
        accumulate=accumulate,
        num_parts=num_parts,
        num_tasks=num_tasks,
    )
    pool.run(_LINEAR[type(tag)], num_tasks, arguments)


def gated_linear(
    pool: ThreadPool,
    tag: Element,
    *,
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

    Each block of w holds sixteen columns of gate, then the same sixteen of up. Otherwise as
    ``linear``.
    """
    check_rows("x", num_rows, x_stride, num_k * _K_BYTES)
    check_rows("out", num_rows, out_stride, num_blocks * vectors.LANES * tag.itemsize)
    num_parts = _num_row_parts(pool.num_threads, num_blocks, num_rows)
    num_tasks = min(num_blocks * num_parts, _TASKS_PER_THREAD * pool.num_threads)
    arguments = _product(
        x=x,
        x_stride=x_stride,
        w=w,
        num_k=num_k,
        num_blocks=num_blocks,
        out=out,
        out_stride=out_stride,
        num_rows=num_rows,
        accumulate=False,
        num_parts=num_parts,
        num_tasks=num_tasks,
    )
    pool.run(_GATED_LINEAR[type(tag)], num_tasks, arguments)


def activated_linear(
    pool: ThreadPool,
    tag: Element,
    *,
    x: int,
    x_stride: int,
    w: int,
    num_k: int,
    num_blocks: int,
    bias: int,
    activation: int,
    out: int,
    out_stride: int,
    num_rows: int,
) -> None:
    """out [num_rows, 32 * num_blocks] of the tag's type = activation(x @ w.T + bias).

    bias: [32 * num_blocks] float32, or address 0 for none. activation: see vectors.ACTIVATIONS.
    Otherwise as ``linear``.
    """
    check_rows("x", num_rows, x_stride, num_k * _K_BYTES)
    check_rows("out", num_rows, out_stride, num_blocks * COLUMNS * tag.itemsize)
    num_parts = _num_row_parts(pool.num_threads, num_blocks, num_rows)
    num_tasks = min(num_blocks * num_parts, _TASKS_PER_THREAD * pool.num_threads)
    arguments = _activated_product(
        x=x,
        x_stride=x_stride,
        w=w,
        num_k=num_k,
        num_blocks=num_blocks,
        bias=bias,
        activation=activation,
        out=out,
        out_stride=out_stride,
        num_rows=num_rows,
        num_parts=num_parts,
        num_tasks=num_tasks,
    )
    pool.run(_ACTIVATED_LINEAR[type(tag)], num_tasks, arguments)


@kernel_of(_Product)
def _linear_bf16(arguments: int, task: int) -> bool:
    return _linear(BF16, False, arguments, task)


@kernel_of(_Product)
def _linear_fp32(arguments: int, task: int) -> bool:
    return _linear(FP32, False, arguments, task)


@kernel_of(_Product)
def _gated_linear_bf16(arguments: int, task: int) -> bool:
    return _linear(BF16, True, arguments, task)


@kernel_of(_Product)
def _gated_linear_fp32(arguments: int, task: int) -> bool:
    return _linear(FP32, True, arguments, task)


@kernel_of(_Activated)
def _activated_linear_bf16(arguments: int, task: int) -> bool:
    return _activated_linear(BF16, arguments, task)


@kernel_of(_Activated)
def _activated_linear_fp32(arguments: int, task: int) -> bool:
    return _activated_linear(FP32, arguments, task)


_LINEAR = {np.uint16: _linear_bf16, np.float32: _linear_fp32}
_ACTIVATED_LINEAR = {np.uint16: _activated_linear_bf16, np.float32: _activated_linear_fp32}
_GATED_LINEAR = {np.uint16: _gated_linear_bf16, np.float32: _gated_linear_fp32}


@subroutine
def _linear(tag: Any, gated: bool, arguments: int, task: int) -> bool:
    """One task: an even share of all pairs of a block of columns and a part of the rows."""
    product = read(_Product, arguments)
    block_bytes = product.num_k * 2 * vectors.VECTOR_BYTES
    num_pairs = product.num_blocks * product.num_parts
    begin = num_pairs * task // product.num_tasks
    end = num_pairs * (task + 1) // product.num_tasks
    for pair in range(begin, end):
        block = pair // product.num_parts
        part = pair % product.num_parts
        first = product.num_rows * part // product.num_parts
        last = product.num_rows * (part + 1) // product.num_parts
        columns = product.w + block * block_bytes
        rows = product.x + first * product.x_stride
        target = product.out + first * product.out_stride
        if gated:
            _gated_block(
                tag,
                last - first,
                rows,
                product.x_stride,
                columns,
                product.num_k,
                target + block * vectors.LANES * element_bytes(tag),
                product.out_stride,
            )
        else:
            multiply_block(
                tag,
                last - first,
                rows,
                product.x_stride,
                columns,
                product.num_k,
                target + block * 2 * vectors.VECTOR_BYTES,
                product.out_stride,
                product.accumulate,
            )
    return True


@subroutine
def multiply_block(
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
    both = stack_memory(MAX_ROWS * COLUMNS * 4)
    both_stride = 2 * vectors.VECTOR_BYTES
    num_tiles = (num_rows + max_rows() - 1) // max_rows()
    for tile in range(num_tiles):
        row = num_rows * tile // num_tiles
        end = num_rows * (tile + 1) // num_tiles
        multiply_block(
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
            vectors.store_element(tag, out + (row + i) * out_stride, gated_silu(gate, up))


@subroutine
def _activated_linear(tag: Any, arguments: int, task: int) -> bool:
    """One task: as ``_linear``."""
    product = read(_Activated, arguments)
    num_pairs = product.num_blocks * product.num_parts
    begin = num_pairs * task // product.num_tasks
    end = num_pairs * (task + 1) // product.num_tasks
    for pair in range(begin, end):
        block = pair // product.num_parts
        part = pair % product.num_parts
        first = product.num_rows * part // product.num_parts
        last = product.num_rows * (part + 1) // product.num_parts
        _activated_block(tag, product, block, first, last)
    return True


@subroutine
def _activated_block(tag: Any, product: Any, block: int, first: int, last: int) -> None:
    """The rows [first, last) of one block of columns. product: an _Activated."""
    sums = stack_memory(MAX_ROWS * COLUMNS * 4)
    width = element_bytes(tag)
    columns = product.w + block * product.num_k * 2 * vectors.VECTOR_BYTES
    bias = product.bias + block * _BLOCK_BYTES
    num_rows = last - first
    num_tiles = (num_rows + max_rows() - 1) // max_rows()
    for tile in range(num_tiles):
        row = first + num_rows * tile // num_tiles
        tile_rows = first + num_rows * (tile + 1) // num_tiles - row
        if product.bias != 0:
            for at in range(0, tile_rows * _BLOCK_BYTES, vectors.VECTOR_BYTES):
                vectors.store(sums + at, vectors.load(bias + at % _BLOCK_BYTES))
        multiply_block(
            tag,
            tile_rows,
            product.x + row * product.x_stride,
            product.x_stride,
            columns,
            product.num_k,
            sums,
            _BLOCK_BYTES,
            product.bias != 0,
        )
        for i in range(tile_rows):
            target = product.out + (row + i) * product.out_stride + block * COLUMNS * width
            for column in range(0, COLUMNS, vectors.LANES):
                value = vectors.load(sums + i * _BLOCK_BYTES + column * 4)
                value = vectors.activated(product.activation, value)
                vectors.store_element(tag, target + column * width, value)


@subroutine
def gated_silu(gate: Any, up: Any) -> Any:
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
