"""Norms and rotates queries and keys, and writes keys and values into the paged cache."""

from typing import Any, NamedTuple

import numpy as np

from headrace.models.simd import vectors
from headrace.models.simd.attention_step import PackedStep, Step, key_offset, value_offset
from headrace.models.simd.jit import subroutine
from headrace.models.simd.kernel import check_rows, constructor, kernel_of, read
from headrace.models.simd.norms import normalize
from headrace.models.simd.scalars import (
    element_bytes,
    load_f32,
    load_i32,
    store_f32,
    store_one,
)
from headrace.models.simd.thread_pool import ThreadPool
from headrace.models.simd.vectors import BF16, FP32, Element

_TOKENS_PER_TASK = 4


class _Rotation(NamedTuple):
    step: int
    qkv: int
    qkv_stride: int
    cos: int
    sin: int
    num_positions: int
    q_norm: int
    k_norm: int
    eps: float
    keys: int
    values: int


_rotation = constructor(_Rotation)


def rotate_and_store(
    pool: ThreadPool,
    tag: Element,
    *,
    step: PackedStep,
    qkv: int,
    qkv_stride: int,
    cos: int,
    sin: int,
    num_positions: int,
    q_norm: int,
    k_norm: int,
    eps: float,
    keys: int,
    values: int,
) -> None:
    """The first half of attention, before any token attends.

    qkv: [num_tokens, heads + 2 kv_heads, head_dim] float32, qkv_stride bytes a row; overwritten.
    cos, sin: [num_positions, head_dim / 2] float32.
    q_norm, k_norm: [head_dim] float32, or address 0 for none.
    keys, values: one layer of the cache (see attention_step).
    Raises ValueError, with nothing written, if rows overlap; KernelError for a position outside
    of the tables or a slot outside of the cache, whose token is not written.
    """
    check_rows("qkv", step.num_tokens, qkv_stride, step.qkv_bytes)
    arguments = _rotation(
        step=step.address,
        qkv=qkv,
        qkv_stride=qkv_stride,
        cos=cos,
        sin=sin,
        num_positions=num_positions,
        q_norm=q_norm,
        k_norm=k_norm,
        eps=eps,
        keys=keys,
        values=values,
    )
    pool.run(_ROTATE[type(tag)], -(-step.num_tokens // _TOKENS_PER_TASK), arguments)


@kernel_of(_Rotation)
def _rotate_bf16(arguments: int, task: int) -> bool:
    return _rotate_and_store(BF16, arguments, task)


@kernel_of(_Rotation)
def _rotate_fp32(arguments: int, task: int) -> bool:
    return _rotate_and_store(FP32, arguments, task)


_ROTATE = {np.uint16: _rotate_bf16, np.float32: _rotate_fp32}


@subroutine
def _rotate_and_store(tag: Any, arguments: int, task: int) -> bool:
    call = read(_Rotation, arguments)
    step = read(Step, call.step)
    head_dim, block_size = step.head_dim, step.block_size
    width = element_bytes(tag)
    group = 4 // width
    half = head_dim // 2
    key_bytes = head_dim * block_size * width
    value_bytes = step.padded_dim * block_size * width
    first = task * _TOKENS_PER_TASK
    for t in range(first, min(first + _TOKENS_PER_TASK, step.num_tokens)):
        row = call.qkv + t * call.qkv_stride
        position = load_i32(step.positions + 4 * t)
        if position < 0 or position >= call.num_positions:
            raise IndexError("a position is outside of the rotary tables")
        slot = load_i32(step.slots + 4 * t)
        block = slot // block_size
        inner = slot % block_size
        if slot < 0 or block >= step.num_blocks:
            raise IndexError("a slot is outside of the cache")
        cos_row = call.cos + position * half * 4
        sin_row = call.sin + position * half * 4
        for head in range(step.num_heads):
            q = row + head * head_dim * 4
            if call.q_norm != 0:
                normalize(FP32, q, call.q_norm, call.eps, head_dim, q)
            _rotate(q, cos_row, sin_row, half)
            out = step.queries + (t * step.num_heads + head) * head_dim * width
            _copy(tag, q, head_dim, out)
        # The last value of an odd number is read with its pair's other half, times zero:
        # that must not be what a former owner left there.
        ends_in_pair = inner % group < group - 1 and (
            t + 1 == step.num_tokens or load_i32(step.slots + 4 * (t + 1)) != slot + 1
        )
        for head in range(step.num_kv_heads):
            k = row + (step.num_heads + head) * head_dim * 4
            if call.k_norm != 0:
                normalize(FP32, k, call.k_norm, call.eps, head_dim, k)
            _rotate(k, cos_row, sin_row, half)
            v = k + step.num_kv_heads * head_dim * 4
            key_block = call.keys + (block * step.num_kv_heads + head) * key_bytes
            value_block = call.values + (block * step.num_kv_heads + head) * value_bytes
            for d in range(head_dim):
                at = key_block + key_offset(group, block_size, d, inner)
                store_one(tag, at, load_f32(k + 4 * d))
            for d in range(head_dim):
                at = value_block + value_offset(group, step.padded_dim, d, inner)
                store_one(tag, at, load_f32(v + 4 * d))
            if ends_in_pair:
                for d in range(head_dim):
                    at = value_block + value_offset(group, step.padded_dim, d, inner + 1)
                    store_one(tag, at, np.float32(0.0))
    return True


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
