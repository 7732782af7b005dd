"""Norms and rotates queries and keys, and writes keys and values into the paged cache."""

from typing import Any

import numpy as np

from headrace.models.simd import vectors
from headrace.models.simd.cache_layout import key_offset, value_offset
from headrace.models.simd.jit import Task, subroutine
from headrace.models.simd.norms import normalize
from headrace.models.simd.scalars import (
    element_bytes,
    load_f32,
    load_f64,
    load_i32,
    load_i64,
    store_f32,
    store_one,
)
from headrace.models.simd.thread_pool import ThreadPool
from headrace.models.simd.vectors import BF16, FP32, Element

_TOKENS_PER_TASK = 4


def rotate_and_store(
    pool: ThreadPool,
    tag: Element,
    qkv: int,
    qkv_stride: int,
    num_tokens: int,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    padded_dim: int,
    positions: int,
    slots: int,
    cos: int,
    sin: int,
    q_norm: int,
    k_norm: int,
    eps: float,
    queries: int,
    keys: int,
    values: int,
    block_size: int,
) -> None:
    """The first half of attention, before any token attends.

    qkv: [num_tokens, heads + 2 kv_heads, head_dim] float32, qkv_stride bytes a row; overwritten.
    positions, slots: [num_tokens] int32. cos, sin: [max_position, head_dim / 2] float32.
    q_norm, k_norm: [head_dim] float32, or address 0 for none.
    queries: [num_tokens, heads, head_dim] of the tag's type, written.
    keys, values: one layer of the cache (see cache_layout).
    """
    num_tasks = -(-num_tokens // _TOKENS_PER_TASK)
    arguments = (
        qkv,
        qkv_stride,
        num_tokens,
        num_heads,
        num_kv_heads,
        head_dim,
        padded_dim,
        positions,
        slots,
        cos,
        sin,
        q_norm,
        k_norm,
        queries,
        keys,
        values,
        block_size,
    )
    pool.run(_ROTATE[type(tag)], num_tasks, arguments, eps)


@Task
def _rotate_bf16(arguments: int, task: int) -> None:
    _rotate_and_store(BF16, arguments, task)


@Task
def _rotate_fp32(arguments: int, task: int) -> None:
    _rotate_and_store(FP32, arguments, task)


_ROTATE = {np.uint16: _rotate_bf16, np.float32: _rotate_fp32}


@subroutine
def _rotate_and_store(tag: Any, arguments: int, task: int) -> None:
    qkv = load_i64(arguments)
    qkv_stride = load_i64(arguments + 8)
    num_tokens = load_i64(arguments + 16)
    num_heads = load_i64(arguments + 24)
    num_kv_heads = load_i64(arguments + 32)
    head_dim = load_i64(arguments + 40)
    padded_dim = load_i64(arguments + 48)
    positions = load_i64(arguments + 56)
    slots = load_i64(arguments + 64)
    cos = load_i64(arguments + 72)
    sin = load_i64(arguments + 80)
    q_norm = load_i64(arguments + 88)
    k_norm = load_i64(arguments + 96)
    queries = load_i64(arguments + 104)
    keys = load_i64(arguments + 112)
    values = load_i64(arguments + 120)
    block_size = load_i64(arguments + 128)
    eps = load_f64(arguments + 136)
    width = element_bytes(tag)
    group = 4 // width
    half = head_dim // 2
    key_bytes = head_dim * block_size * width
    value_bytes = padded_dim * block_size * width
    first = task * _TOKENS_PER_TASK
    for t in range(first, min(first + _TOKENS_PER_TASK, num_tokens)):
        row = qkv + t * qkv_stride
        position = load_i32(positions + 4 * t)
        cos_row = cos + position * half * 4
        sin_row = sin + position * half * 4
        for head in range(num_heads):
            q = row + head * head_dim * 4
            if q_norm != 0:
                normalize(FP32, q, q_norm, eps, head_dim, q)
            _rotate(q, cos_row, sin_row, half)
            out = queries + (t * num_heads + head) * head_dim * width
            _copy(tag, q, head_dim, out)
        slot = load_i32(slots + 4 * t)
        block = slot // block_size
        inner = slot % block_size
        # The last value of an odd number is read with its pair's other half, times zero:
        # that must not be what a former owner left there.
        ends_in_pair = inner % group < group - 1 and (
            t + 1 == num_tokens or load_i32(slots + 4 * (t + 1)) != slot + 1
        )
        for head in range(num_kv_heads):
            k = row + (num_heads + head) * head_dim * 4
            if k_norm != 0:
                normalize(FP32, k, k_norm, eps, head_dim, k)
            _rotate(k, cos_row, sin_row, half)
            v = k + num_kv_heads * head_dim * 4
            key_block = keys + (block * num_kv_heads + head) * key_bytes
            value_block = values + (block * num_kv_heads + head) * value_bytes
            for d in range(head_dim):
                at = key_block + key_offset(group, block_size, d, inner)
                store_one(tag, at, load_f32(k + 4 * d))
            for d in range(head_dim):
                at = value_block + value_offset(group, padded_dim, d, inner)
                store_one(tag, at, load_f32(v + 4 * d))
            if ends_in_pair:
                for d in range(head_dim):
                    at = value_block + value_offset(group, padded_dim, d, inner + 1)
                    store_one(tag, at, np.float32(0.0))


@subroutine
def _rotate(x: int, cos: int, sin: int, half: int) -> None:
    """Rotate one head in place: (a, b) becomes (a cos - b sin, b cos + a sin) by halves."""
    whole = half // vectors.LANES * vectors.LANES
    for i in range(0, whole, vectors.LANES):
        a = vectors.load(x + 4 * i)
        b = vectors.load(x + 4 * (half + i))
        c = vectors.load(cos + 4 * i)
        s = vectors.load(sin + 4 * i)
        minus_s = vectors.multiply(s, vectors.splat(-1.0))
        vectors.store(x + 4 * i, vectors.multiply_add(b, minus_s, vectors.multiply(a, c)))
        vectors.store(x + 4 * (half + i), vectors.multiply_add(a, s, vectors.multiply(b, c)))
    for i in range(whole, half):
        a_one = load_f32(x + 4 * i)
        b_one = load_f32(x + 4 * (half + i))
        c_one = load_f32(cos + 4 * i)
        s_one = load_f32(sin + 4 * i)
        store_f32(x + 4 * i, a_one * c_one - b_one * s_one)
        store_f32(x + 4 * (half + i), b_one * c_one + a_one * s_one)


@subroutine
def _copy(tag: Any, x: int, size: int, out: int) -> None:
    """size float32 to the tag's type."""
    width = element_bytes(tag)
    whole = size // vectors.LANES * vectors.LANES
    for i in range(0, whole, vectors.LANES):
        vectors.store_element(tag, out + i * width, vectors.load(x + 4 * i))
    for i in range(whole, size):
        store_one(tag, out + i * width, load_f32(x + 4 * i))
