"""Root-mean-square normalization of rows of float32."""

from typing import Any

import numpy as np

from headrace.models.simd import vectors
from headrace.models.simd.jit import Task, subroutine
from headrace.models.simd.scalars import (
    element_bytes,
    load_f32,
    load_f64,
    load_i64,
    load_one,
    store_f32,
    store_one,
)
from headrace.models.simd.thread_pool import ThreadPool
from headrace.models.simd.vectors import BF16, FP32, Element

_ROWS_PER_TASK = 8


def rms_norm(
    pool: ThreadPool,
    tag: Element,
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
    """
    num_tasks = -(-num_rows // _ROWS_PER_TASK)
    arguments = (x, x_stride, weight, size, out, out_stride, num_rows)
    pool.run(_RMS_NORM[type(tag)], num_tasks, arguments, eps)


def gather_packed(
    pool: ThreadPool,
    tag: Element,
    token_ids: int,
    w: int,
    num_k: int,
    size: int,
    out: int,
    out_stride: int,
    num_rows: int,
) -> None:
    """out [num_rows, size] float32 = rows of a packed weight (see products), by int64 ids.

    For models whose output layer is their embedding: the table is kept once, packed.
    """
    num_tasks = -(-num_rows // _ROWS_PER_TASK)
    arguments = (token_ids, w, num_k, size, out, out_stride, num_rows)
    pool.run(_GATHER[type(tag)], num_tasks, arguments)


@Task
def _rms_norm_bf16(arguments: int, task: int) -> None:
    _rms_norm(BF16, arguments, task)


@Task
def _rms_norm_fp32(arguments: int, task: int) -> None:
    _rms_norm(FP32, arguments, task)


@Task
def _gather_bf16(arguments: int, task: int) -> None:
    _gather_packed(BF16, arguments, task)


@Task
def _gather_fp32(arguments: int, task: int) -> None:
    _gather_packed(FP32, arguments, task)


_RMS_NORM = {np.uint16: _rms_norm_bf16, np.float32: _rms_norm_fp32}
_GATHER = {np.uint16: _gather_bf16, np.float32: _gather_fp32}


@subroutine
def _rms_norm(tag: Any, arguments: int, task: int) -> None:
    x = load_i64(arguments)
    x_stride = load_i64(arguments + 8)
    weight = load_i64(arguments + 16)
    size = load_i64(arguments + 24)
    out = load_i64(arguments + 32)
    out_stride = load_i64(arguments + 40)
    num_rows = load_i64(arguments + 48)
    eps = load_f64(arguments + 56)
    first = task * _ROWS_PER_TASK
    for row in range(first, min(first + _ROWS_PER_TASK, num_rows)):
        normalize(tag, x + row * x_stride, weight, eps, size, out + row * out_stride)


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
def _gather_packed(tag: Any, arguments: int, task: int) -> None:
    token_ids = load_i64(arguments)
    w = load_i64(arguments + 8)
    num_k = load_i64(arguments + 16)
    size = load_i64(arguments + 24)
    out = load_i64(arguments + 32)
    out_stride = load_i64(arguments + 40)
    num_rows = load_i64(arguments + 48)
    width = element_bytes(tag)
    group = 4 // width  # values of k that lie side by side
    first = task * _ROWS_PER_TASK
    for row in range(first, min(first + _ROWS_PER_TASK, num_rows)):
        token = load_i64(token_ids + 8 * row)
        base = w + (token // 32) * num_k * 2 * vectors.VECTOR_BYTES + (token % 32) * 4
        for k in range(size):
            at = base + (k // group) * 2 * vectors.VECTOR_BYTES + (k % group) * width
            store_f32(out + row * out_stride + 4 * k, load_one(tag, at))
