"""Root-mean-square normalization of rows of float32."""

from typing import Any

import numpy as np
from numba import prange

from headrace.models.simd import vectors
from headrace.models.simd.jit import kernel, subroutine
from headrace.models.simd.scalars import (
    element_bytes,
    load_f32,
    load_i64,
    load_one,
    store_f32,
    store_one,
)


@kernel
def rms_norm(
    tag: Any,
    num_threads: int,
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
    workers = min(num_threads, (num_rows + 7) // 8)  # a few rows cost less than a second thread
    for worker in prange(workers):
        for row in range(num_rows * worker // workers, num_rows * (worker + 1) // workers):
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


@kernel
def gather_packed(
    tag: Any,
    num_threads: int,
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
    workers = min(num_threads, (num_rows + 7) // 8)
    width = element_bytes(tag)
    group = 4 // width  # values of k that lie side by side
    for worker in prange(workers):
        for row in range(num_rows * worker // workers, num_rows * (worker + 1) // workers):
            token = load_i64(token_ids + 8 * row)
            base = w + (token // 32) * num_k * 2 * vectors.VECTOR_BYTES + (token % 32) * 4
            for k in range(size):
                at = base + (k // group) * 2 * vectors.VECTOR_BYTES + (k % group) * width
                store_f32(out + row * out_stride + 4 * k, load_one(tag, at))
