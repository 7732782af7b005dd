"""Activations of products that adapters have changed, as models.simd.matmul computes them.

The kernels of ``gated_linear`` and ``activated_linear`` activate sums that are still in registers.
Steps with adapters compute the product first, then the updates, then this. A row without an adapter
gets the same bits either way.
"""

from typing import Any, NamedTuple

import numpy as np

from headrace.models.simd import vectors
from headrace.models.simd.jit import subroutine
from headrace.models.simd.kernel import check_rows, constructor, kernel_of, read
from headrace.models.simd.matmul import COLUMNS, gated_silu
from headrace.models.simd.scalars import element_bytes
from headrace.models.simd.thread_pool import ThreadPool
from headrace.models.simd.vectors import BF16, FP32, Element

_BLOCK_BYTES = 2 * vectors.VECTOR_BYTES


class _Activation(NamedTuple):
    x: int
    x_stride: int
    num_blocks: int
    is_gated: bool
    activation: int
    out: int
    out_stride: int


_activation = constructor(_Activation)


def activate_product(
    pool: ThreadPool,
    tag: Element,
    *,
    x: int,
    x_stride: int,
    num_blocks: int,
    is_gated: bool,
    activation: int,
    out: int,
    out_stride: int,
    num_rows: int,
) -> None:
    """Activate x [num_rows, 32 * num_blocks] float32, which ``matmul.linear`` gave.

    is_gated: out [num_rows, 16 * num_blocks] of the tag's type = silu(gate) * up, with the weight
    of ``matmul.gated_linear``. Otherwise out [num_rows, 32 * num_blocks] = activation(x); see
    vectors.ACTIVATIONS. Strides in bytes.
    Raises ValueError, with nothing written, for negative sizes and for strides that are shorter
    than a row.
    """
    num_columns = num_blocks * (vectors.LANES if is_gated else COLUMNS)
    check_rows("x", num_rows, x_stride, num_blocks * _BLOCK_BYTES)
    check_rows("out", num_rows, out_stride, num_columns * tag.itemsize)
    arguments = _activation(
        x=x,
        x_stride=x_stride,
        num_blocks=num_blocks,
        is_gated=is_gated,
        activation=activation,
        out=out,
        out_stride=out_stride,
    )
    pool.run(_KERNELS[type(tag)], num_rows, arguments)


@kernel_of(_Activation)
def _activate_bf16(arguments: int, task: int) -> bool:
    return _activate_row(BF16, arguments, task)


@kernel_of(_Activation)
def _activate_fp32(arguments: int, task: int) -> bool:
    return _activate_row(FP32, arguments, task)


_KERNELS = {np.uint16: _activate_bf16, np.float32: _activate_fp32}


@subroutine
def _activate_row(tag: Any, arguments: int, row: int) -> bool:
    step = read(_Activation, arguments)
    vector_bytes = vectors.LANES * element_bytes(tag)
    out = step.out + row * step.out_stride
    for block in range(step.num_blocks):
        source = step.x + row * step.x_stride + block * _BLOCK_BYTES
        first = vectors.load(source)
        second = vectors.load(source + vectors.VECTOR_BYTES)
        if step.is_gated:
            vectors.store_element(tag, out + block * vector_bytes, gated_silu(first, second))
        else:
            target = out + 2 * block * vector_bytes
            vectors.store_element(tag, target, vectors.activated(step.activation, first))
            vectors.store_element(
                tag, target + vector_bytes, vectors.activated(step.activation, second)
            )
    return True
