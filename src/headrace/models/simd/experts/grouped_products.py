"""Products of rows with the matrices of experts, all experts of a layer in one call.

Rows are grouped by expert: a group's rows lie one after the other, and it names its expert.
gate_groups computes the first half of the experts; add_groups the second, and adds each row to its
token's row of the residual stream. A task of add_groups has columns of its own and goes through
the groups in their order, so a token's sum has the order of its experts, whatever the batch.

The packed matrices of the experts lie one after the other, each as in models.simd.matmul.
"""

from typing import Any, NamedTuple

import numpy as np

from headrace.models.simd import vectors
from headrace.models.simd.jit import subroutine
from headrace.models.simd.kernel import check_rows, constructor, kernel_of, read
from headrace.models.simd.matmul import COLUMNS, multiply_block
from headrace.models.simd.matmul_tile import MAX_ROWS, max_rows
from headrace.models.simd.scalars import element_bytes, load_f32, load_i32, stack_memory
from headrace.models.simd.thread_pool import ThreadPool
from headrace.models.simd.vectors import BF16, FP32, Element

_BLOCK_BYTES = 2 * vectors.VECTOR_BYTES
"""Of one row of float32 results of a block of columns, and of one k of its weights."""
_K_BYTES = 4
_GATE_TASKS_PER_THREAD = 16
_ADD_TASKS_PER_THREAD = 8
"""Fewer, as each reads all rows."""


class Groups(NamedTuple):
    """Rows by expert: the addresses of int32 arrays, which must outlive the call."""

    experts: int
    """[num_groups]: each group's expert."""
    starts: int
    """[num_groups + 1]: where each group's rows begin, and the last one's end."""
    num_groups: int
    num_rows: int
    """Of all groups."""


class _Gate(NamedTuple):
    experts: int
    starts: int
    num_groups: int
    x: int
    x_stride: int
    w: int
    num_k: int
    num_blocks: int
    bias: int
    activation: int
    out: int
    out_stride: int
    num_tasks: int


class _Add(NamedTuple):
    experts: int
    starts: int
    num_groups: int
    x: int
    x_stride: int
    w: int
    num_k: int
    num_blocks: int
    bias: int
    tokens: int
    scales: int
    out: int
    out_stride: int
    num_tasks: int


_gate = constructor(_Gate)
_add = constructor(_Add)


def gate_groups(
    pool: ThreadPool,
    tag: Element,
    *,
    groups: Groups,
    x: int,
    x_stride: int,
    w: int,
    num_k: int,
    num_blocks: int,
    bias: int,
    activation: int,
    out: int,
    out_stride: int,
) -> None:
    """out [num_rows, 16 * num_blocks] of the tag's type = gate(x @ gate.T, x @ up.T).

    x: [num_rows, K] of the tag's type, in the order of the groups; strides in bytes. Each block of
    w holds sixteen columns of an expert's gate, then the same of up.
    bias: [num_experts, 32 * num_blocks] float32 in the order of w's columns, or address 0 for none.
    activation: see vectors.GATES. Raises ValueError as ``matmul.linear`` does.
    """
    check_rows("x", groups.num_rows, x_stride, num_k * _K_BYTES)
    check_rows("out", groups.num_rows, out_stride, num_blocks * vectors.LANES * tag.itemsize)
    num_tasks = min(groups.num_groups * num_blocks, _GATE_TASKS_PER_THREAD * pool.num_threads)
    arguments = _gate(
        experts=groups.experts,
        starts=groups.starts,
        num_groups=groups.num_groups,
        x=x,
        x_stride=x_stride,
        w=w,
        num_k=num_k,
        num_blocks=num_blocks,
        bias=bias,
        activation=activation,
        out=out,
        out_stride=out_stride,
        num_tasks=num_tasks,
    )
    pool.run(_GATE[type(tag)], num_tasks, arguments)


def add_groups(
    pool: ThreadPool,
    tag: Element,
    *,
    groups: Groups,
    x: int,
    x_stride: int,
    w: int,
    num_k: int,
    num_blocks: int,
    bias: int,
    tokens: int,
    scales: int,
    out: int,
    out_stride: int,
) -> None:
    """out[token] += scale * (x @ w.T + bias), for each row of x, its token and its scale.

    x: [num_rows, K] of the tag's type, in the order of the groups; strides in bytes.
    bias: [num_experts, 32 * num_blocks] float32, or address 0 for none.
    tokens: [num_rows] int32, no two alike in one group; scales: [num_rows] float32.
    out: [num_tokens, 32 * num_blocks] float32. Raises ValueError as ``matmul.linear`` does.
    """
    check_rows("x", groups.num_rows, x_stride, num_k * _K_BYTES)
    check_rows("out", groups.num_rows, out_stride, num_blocks * _BLOCK_BYTES)
    num_tasks = min(num_blocks, _ADD_TASKS_PER_THREAD * pool.num_threads)
    arguments = _add(
        experts=groups.experts,
        starts=groups.starts,
        num_groups=groups.num_groups,
        x=x,
        x_stride=x_stride,
        w=w,
        num_k=num_k,
        num_blocks=num_blocks,
        bias=bias,
        tokens=tokens,
        scales=scales,
        out=out,
        out_stride=out_stride,
        num_tasks=num_tasks,
    )
    pool.run(_ADD[type(tag)], num_tasks, arguments)


@kernel_of(_Gate)
def _gate_groups_bf16(arguments: int, task: int) -> bool:
    return _gate_groups(BF16, arguments, task)


@kernel_of(_Gate)
def _gate_groups_fp32(arguments: int, task: int) -> bool:
    return _gate_groups(FP32, arguments, task)


@kernel_of(_Add)
def _add_groups_bf16(arguments: int, task: int) -> bool:
    return _add_groups(BF16, arguments, task)


@kernel_of(_Add)
def _add_groups_fp32(arguments: int, task: int) -> bool:
    return _add_groups(FP32, arguments, task)


_GATE = {np.uint16: _gate_groups_bf16, np.float32: _gate_groups_fp32}
_ADD = {np.uint16: _add_groups_bf16, np.float32: _add_groups_fp32}


@subroutine
def _gate_groups(tag: Any, arguments: int, task: int) -> bool:
    """One task: an even share of all pairs of a group and a block of its expert's columns."""
    product = read(_Gate, arguments)
    sums = stack_memory(MAX_ROWS * COLUMNS * 4)
    num_pairs = product.num_groups * product.num_blocks
    begin = num_pairs * task // product.num_tasks
    end = num_pairs * (task + 1) // product.num_tasks
    for pair in range(begin, end):
        group = pair // product.num_blocks
        block = pair % product.num_blocks
        first = load_i32(product.starts + 4 * group)
        num_rows = load_i32(product.starts + 4 * group + 4) - first
        num_tiles = (num_rows + max_rows() - 1) // max_rows()
        for tile in range(num_tiles):
            row = first + num_rows * tile // num_tiles
            tile_rows = first + num_rows * (tile + 1) // num_tiles - row
            _multiply(tag, product, group, block, row, tile_rows, sums)
            target = product.out + block * vectors.LANES * element_bytes(tag)
            for i in range(tile_rows):
                gate = vectors.load(sums + i * _BLOCK_BYTES)
                up = vectors.load(sums + i * _BLOCK_BYTES + vectors.VECTOR_BYTES)
                value = vectors.gated(product.activation, gate, up)
                vectors.store_element(tag, target + (row + i) * product.out_stride, value)
    return True


@subroutine
def _add_groups(tag: Any, arguments: int, task: int) -> bool:
    """One task: an even share of the blocks of columns, of all groups."""
    product = read(_Add, arguments)
    sums = stack_memory(MAX_ROWS * COLUMNS * 4)
    begin = product.num_blocks * task // product.num_tasks
    end = product.num_blocks * (task + 1) // product.num_tasks
    for group in range(product.num_groups):
        first = load_i32(product.starts + 4 * group)
        num_rows = load_i32(product.starts + 4 * group + 4) - first
        num_tiles = (num_rows + max_rows() - 1) // max_rows()
        for block in range(begin, end):
            for tile in range(num_tiles):
                row = first + num_rows * tile // num_tiles
                tile_rows = first + num_rows * (tile + 1) // num_tiles - row
                _multiply(tag, product, group, block, row, tile_rows, sums)
                for i in range(tile_rows):
                    token = load_i32(product.tokens + 4 * (row + i))
                    scale = vectors.splat(load_f32(product.scales + 4 * (row + i)))
                    target = product.out + token * product.out_stride + block * _BLOCK_BYTES
                    for at in range(0, _BLOCK_BYTES, vectors.VECTOR_BYTES):
                        value = vectors.load(sums + i * _BLOCK_BYTES + at)
                        total = vectors.multiply_add(value, scale, vectors.load(target + at))
                        vectors.store(target + at, total)
    return True


@subroutine
def _multiply(
    tag: Any, product: Any, group: int, block: int, row: int, num_rows: int, sums: int
) -> None:
    """Up to max_rows() rows of x times one block of the group's expert, with its bias, into sums.

    product: a _Gate or an _Add.
    """
    expert = load_i32(product.experts + 4 * group)
    index = expert * product.num_blocks + block  # among the blocks of all experts
    if product.bias != 0:
        bias = product.bias + index * _BLOCK_BYTES
        for at in range(0, num_rows * _BLOCK_BYTES, vectors.VECTOR_BYTES):
            vectors.store(sums + at, vectors.load(bias + at % _BLOCK_BYTES))
    multiply_block(
        tag,
        num_rows,
        product.x + row * product.x_stride,
        product.x_stride,
        product.w + index * product.num_k * _BLOCK_BYTES,
        product.num_k,
        sums,
        _BLOCK_BYTES,
        product.bias != 0,
    )
