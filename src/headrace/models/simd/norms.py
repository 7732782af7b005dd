"""RMS norm and LayerNorm of rows of float32; rows of a packed embedding."""

from typing import Any, NamedTuple

import numpy as np

from headrace.models.simd import vectors
from headrace.models.simd.jit import subroutine
from headrace.models.simd.kernel import check_rows, constructor, kernel_of, read
from headrace.models.simd.scalars import (
    element_bytes,
    load_f32,
    load_i64,
    load_one,
    store_f32,
    store_one,
)
from headrace.models.simd.thread_pool import ThreadPool
from headrace.models.simd.vectors import BF16, FP32, Element

_ROWS_PER_TASK = 8
_FLOAT_BYTES = 4


class _RmsNorm(NamedTuple):
    x: int
    x_stride: int
    weight: int
    eps: float
    size: int
    out: int
    out_stride: int
    num_rows: int


class _LayerNorm(NamedTuple):
    x: int
    x_stride: int
    weight: int
    bias: int
    eps: float
    size: int
    out: int
    out_stride: int
    num_rows: int


class _Gather(NamedTuple):
    token_ids: int
    w: int
    num_k: int
    num_columns: int
    size: int
    out: int
    out_stride: int
    num_rows: int


_rms_norm_arguments = constructor(_RmsNorm)
_layer_norm_arguments = constructor(_LayerNorm)
_gather_arguments = constructor(_Gather)


def rms_norm(
    pool: ThreadPool,
    tag: Element,
    *,
    x: int,
    x_stride: int,
    weight: int,
    eps: float,
    size: int,
    out: int,
    out_stride: int,
    num_rows: int,
) -> None:
    """out [num_rows, size] of the tag's type = x / rms(x) * weight (Zhang and Sennrich, 2019).

    x, weight: float32; strides in bytes.
    Raises ValueError, with nothing written, for negative sizes and for strides that are shorter
    than a row.
    """
    check_rows("x", num_rows, x_stride, size * _FLOAT_BYTES)
    check_rows("out", num_rows, out_stride, size * tag.itemsize)
    arguments = _rms_norm_arguments(
        x=x,
        x_stride=x_stride,
        weight=weight,
        eps=eps,
        size=size,
        out=out,
        out_stride=out_stride,
        num_rows=num_rows,
    )
    pool.run(_RMS_NORM[type(tag)], -(-num_rows // _ROWS_PER_TASK), arguments)


def layer_norm(
    pool: ThreadPool,
    tag: Element,
    *,
    x: int,
    x_stride: int,
    weight: int,
    bias: int,
    eps: float,
    size: int,
    out: int,
    out_stride: int,
    num_rows: int,
) -> None:
    """out [num_rows, size] of the tag's type = (x - mean(x)) / std(x) * weight + bias (Ba et al.,
    2016).

    x, weight, bias: float32; bias: 0 for none; strides in bytes. Errors as of ``rms_norm``.
    """
    check_rows("x", num_rows, x_stride, size * _FLOAT_BYTES)
    check_rows("out", num_rows, out_stride, size * tag.itemsize)
    arguments = _layer_norm_arguments(
        x=x,
        x_stride=x_stride,
        weight=weight,
        bias=bias,
        eps=eps,
        size=size,
        out=out,
        out_stride=out_stride,
        num_rows=num_rows,
    )
    pool.run(_LAYER_NORM[type(tag)], -(-num_rows // _ROWS_PER_TASK), arguments)


def gather_packed(
    pool: ThreadPool,
    tag: Element,
    *,
    token_ids: int,
    w: int,
    num_k: int,
    num_columns: int,
    size: int,
    out: int,
    out_stride: int,
    num_rows: int,
) -> None:
    """out [num_rows, size] float32 = rows of a packed weight (see matmul), by int64 ids.

    For models whose output layer is their embedding: the table is kept once, packed.
    num_k: k of the weight, or pairs of them. num_columns: of the weight; ids are below it.
    Raises ValueError, with nothing written, for negative sizes, for strides that are shorter than
    a row and for a row that is longer than the weight's; KernelError for an id that is not in the
    table, whose row is not written.
    """
    check_rows("out", num_rows, out_stride, size * _FLOAT_BYTES)
    if size * tag.itemsize > num_k * _FLOAT_BYTES:
        raise ValueError(f"rows of {size} elements, but the weight has {num_k} k (or pairs)")
    arguments = _gather_arguments(
        token_ids=token_ids,
        w=w,
        num_k=num_k,
        num_columns=num_columns,
        size=size,
        out=out,
        out_stride=out_stride,
        num_rows=num_rows,
    )
    pool.run(_GATHER[type(tag)], -(-num_rows // _ROWS_PER_TASK), arguments)


@kernel_of(_RmsNorm)
def _rms_norm_bf16(arguments: int, task: int) -> bool:
    return _rms_norm(BF16, arguments, task)


@kernel_of(_RmsNorm)
def _rms_norm_fp32(arguments: int, task: int) -> bool:
    return _rms_norm(FP32, arguments, task)


@kernel_of(_LayerNorm)
def _layer_norm_bf16(arguments: int, task: int) -> bool:
    return _layer_norm(BF16, arguments, task)


@kernel_of(_LayerNorm)
def _layer_norm_fp32(arguments: int, task: int) -> bool:
    return _layer_norm(FP32, arguments, task)


@kernel_of(_Gather)
def _gather_bf16(arguments: int, task: int) -> bool:
    return _gather_packed(BF16, arguments, task)


@kernel_of(_Gather)
def _gather_fp32(arguments: int, task: int) -> bool:
    return _gather_packed(FP32, arguments, task)


_RMS_NORM = {np.uint16: _rms_norm_bf16, np.float32: _rms_norm_fp32}
_LAYER_NORM = {np.uint16: _layer_norm_bf16, np.float32: _layer_norm_fp32}
_GATHER = {np.uint16: _gather_bf16, np.float32: _gather_fp32}


@subroutine
def _rms_norm(tag: Any, arguments: int, task: int) -> bool:
    norm = read(_RmsNorm, arguments)
    first = task * _ROWS_PER_TASK
    for row in range(first, min(first + _ROWS_PER_TASK, norm.num_rows)):
        normalize(
            tag,
            norm.x + row * norm.x_stride,
            norm.weight,
            norm.eps,
            norm.size,
            norm.out + row * norm.out_stride,
        )
    return True


@subroutine
def normalize(tag: Any, x: int, weight: int, eps: float, size: int, out: int) -> None:
    """One row, in vectors of sixteen and a rest of single numbers."""
    whole = size // vectors.LANES
    total = vectors.splat(0.0)
    for i in range(whole):
        part = vectors.load(x + i * vectors.VECTOR_BYTES)
        total = vectors.multiply_add(part, part, total)
    mean = vectors.sum_lanes(total)
    for i in range(whole * vectors.LANES, size):
        mean += load_f32(x + 4 * i) * load_f32(x + 4 * i)
    scale = np.float32(1.0) / np.sqrt(mean / np.float32(size) + np.float32(eps))
    scales = vectors.splat(scale)
    width = element_bytes(tag)
    for i in range(whole):
        at = i * vectors.VECTOR_BYTES
        value = vectors.multiply(vectors.load(x + at), scales)
        value = vectors.multiply(value, vectors.load(weight + at))
        vectors.store_element(tag, out + i * vectors.LANES * width, value)
    for i in range(whole * vectors.LANES, size):
        store_one(tag, out + i * width, load_f32(x + 4 * i) * scale * load_f32(weight + 4 * i))


@subroutine
def _layer_norm(tag: Any, arguments: int, task: int) -> bool:
    norm = read(_LayerNorm, arguments)
    first = task * _ROWS_PER_TASK
    for row in range(first, min(first + _ROWS_PER_TASK, norm.num_rows)):
        _center_and_scale(
            tag,
            norm.x + row * norm.x_stride,
            norm.weight,
            norm.bias,
            norm.eps,
            norm.size,
            norm.out + row * norm.out_stride,
        )
    return True


@subroutine
def _center_and_scale(
    tag: Any, x: int, weight: int, bias: int, eps: float, size: int, out: int
) -> None:
    """One row, as ``normalize``; the variance is that of the centered values."""
    whole = size // vectors.LANES
    rest = whole * vectors.LANES
    total = vectors.splat(0.0)
    for i in range(whole):
        total = vectors.add(total, vectors.load(x + i * vectors.VECTOR_BYTES))
    sum_of_row = vectors.sum_lanes(total)
    for i in range(rest, size):
        sum_of_row += load_f32(x + 4 * i)
    mean = np.float32(sum_of_row / np.float32(size))
    minus_mean = vectors.splat(-mean)
    squares = vectors.splat(0.0)
    for i in range(whole):
        part = vectors.add(vectors.load(x + i * vectors.VECTOR_BYTES), minus_mean)
        squares = vectors.multiply_add(part, part, squares)
    variance = vectors.sum_lanes(squares)
    for i in range(rest, size):
        variance += (load_f32(x + 4 * i) - mean) * (load_f32(x + 4 * i) - mean)
    scale = np.float32(1.0) / np.sqrt(variance / np.float32(size) + np.float32(eps))
    scales = vectors.splat(scale)
    width = element_bytes(tag)
    for i in range(whole):
        at = i * vectors.VECTOR_BYTES
        value = vectors.multiply(vectors.add(vectors.load(x + at), minus_mean), scales)
        value = vectors.multiply(value, vectors.load(weight + at))
        if bias != 0:
            value = vectors.add(value, vectors.load(bias + at))
        vectors.store_element(tag, out + i * vectors.LANES * width, value)
    for i in range(rest, size):
        one = (load_f32(x + 4 * i) - mean) * scale * load_f32(weight + 4 * i)
        if bias != 0:
            one += load_f32(bias + 4 * i)
        store_one(tag, out + i * width, one)


@subroutine
def _gather_packed(tag: Any, arguments: int, task: int) -> bool:
    gather = read(_Gather, arguments)
    width = element_bytes(tag)
    group = 4 // width  # values of k that lie side by side
    k_bytes = 2 * vectors.VECTOR_BYTES  # of a block's columns for one k, or a pair
    first = task * _ROWS_PER_TASK
    for row in range(first, min(first + _ROWS_PER_TASK, gather.num_rows)):
        token = load_i64(gather.token_ids + 8 * row)
        if token < 0 or token >= gather.num_columns:
            raise IndexError("a token id is not in the embedding table")
        base = gather.w + (token // 32) * gather.num_k * k_bytes + (token % 32) * 4
        for k in range(gather.size):
            at = base + (k // group) * k_bytes + (k % group) * width
            store_f32(gather.out + row * gather.out_stride + 4 * k, load_one(tag, at))
    return True
