"""Attention that reads keys and values where they lie in the paged cache.

A task is up to eight rows (query tokens times the heads that share one key head) of one sequence
and key head. It walks the context in chunks, keeping a running maximum and sum for each row
(online softmax: Milakov and Gimelshein, 2018; FlashAttention: Dao et al., 2022). A row's result
does not depend on the other rows, so not on the batch.
"""

from typing import Any

import numpy as np

from headrace.models.simd import vectors
from headrace.models.simd.jit import Task, subroutine
from headrace.models.simd.products import COLUMNS
from headrace.models.simd.scalars import (
    address_of,
    element_bytes,
    load_f32,
    load_f64,
    load_i32,
    load_i64,
    store_f32,
    store_one,
)
from headrace.models.simd.thread_pool import ThreadPool
from headrace.models.simd.tile import max_rows, multiply_tile
from headrace.models.simd.vectors import BF16, FP32, Element

CHUNK = 128
"""Keys whose scores are held at once, a multiple of a tile's columns."""

_MASKED = np.float32(-1e30)


def attend(
    pool: ThreadPool,
    tag: Element,
    num_tiles: int,
    tile_seqs: int,
    tile_rows: int,
    query_starts: int,
    context_lens: int,
    block_tables: int,
    table_stride: int,
    queries: int,
    keys: int,
    values: int,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    padded_dim: int,
    block_size: int,
    window: int,
    out: int,
    scale: float,
) -> None:
    """out [num_tokens, heads, head_dim] of the tag's type.

    tile_seqs, tile_rows: [num_tiles] int32, each tile's
    sequence and first row; a sequence's rows are cut into tiles of max_rows().
    query_starts, context_lens, block_tables: see PagedBatch, int32; table_stride in bytes.
    queries: [num_tokens, heads, head_dim] of the tag's type. keys, values: see cache_layout.
    window: positions that a token sees, its own among them; 0 for all.
    """
    arguments = (
        num_tiles,
        tile_seqs,
        tile_rows,
        query_starts,
        context_lens,
        block_tables,
        table_stride,
        queries,
        keys,
        values,
        num_heads,
        num_kv_heads,
        head_dim,
        padded_dim,
        block_size,
        window,
        out,
    )
    pool.run(_ATTEND[type(tag)], num_tiles * num_kv_heads, arguments, scale)


@Task
def _attend_bf16(arguments: int, task: int) -> None:
    _attend(BF16, arguments, task)


@Task
def _attend_fp32(arguments: int, task: int) -> None:
    _attend(FP32, arguments, task)


_ATTEND = {np.uint16: _attend_bf16, np.float32: _attend_fp32}


@subroutine
def _attend(tag: Any, arguments: int, task: int) -> None:
    """One task: a tile of rows and a key head."""
    num_tiles = load_i64(arguments)
    tile_seqs = load_i64(arguments + 8)
    tile_rows = load_i64(arguments + 16)
    query_starts = load_i64(arguments + 24)
    context_lens = load_i64(arguments + 32)
    block_tables = load_i64(arguments + 40)
    table_stride = load_i64(arguments + 48)
    queries = load_i64(arguments + 56)
    keys = load_i64(arguments + 64)
    values = load_i64(arguments + 72)
    num_heads = load_i64(arguments + 80)
    num_kv_heads = load_i64(arguments + 88)
    head_dim = load_i64(arguments + 96)
    padded_dim = load_i64(arguments + 104)
    block_size = load_i64(arguments + 112)
    window = load_i64(arguments + 120)
    out = load_i64(arguments + 128)
    scale = load_f64(arguments + 136)
    rows = max_rows()
    query_rows = np.empty(rows * padded_dim, np.float32)
    scores = np.empty(rows * CHUNK, np.float32)
    weights = np.empty(rows * CHUNK, np.float32)
    totals = np.empty(rows * padded_dim, np.float32)
    peaks = np.empty(rows, np.float32)
    sums = np.empty(rows, np.float32)
    tile = num_tiles - 1 - task // num_kv_heads  # long ones are last: begin with them
    seq = load_i32(tile_seqs + 4 * tile)
    first_query = load_i32(query_starts + 4 * seq)
    token_bytes = num_heads * head_dim * element_bytes(tag)
    _attend_tile(
        tag,
        load_i32(tile_rows + 4 * tile),
        load_i32(query_starts + 4 * seq + 4) - first_query,
        load_i32(context_lens + 4 * seq),
        block_tables + seq * table_stride,
        queries + first_query * token_bytes,
        keys,
        values,
        task % num_kv_heads,
        num_heads,
        num_kv_heads,
        head_dim,
        padded_dim,
        block_size,
        window,
        np.float32(scale),
        address_of(query_rows),
        address_of(scores),
        address_of(weights),
        address_of(totals),
        peaks,
        sums,
        out + first_query * token_bytes,
    )


@subroutine
def _attend_tile(
    tag: Any,
    first_row: int,
    num_queries: int,
    context_len: int,
    table: int,
    queries: int,
    keys: int,
    values: int,
    kv_head: int,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    padded_dim: int,
    block_size: int,
    window: int,
    scale: Any,
    query_rows: int,
    scores: int,
    weights: int,
    totals: int,
    peaks: Any,
    sums: Any,
    out: int,
) -> None:
    """One task; the sequence's row r is query r // heads_per_key of head r % heads_per_key."""
    width = element_bytes(tag)
    group = 4 // width
    per_key = num_heads // num_kv_heads
    num_rows = min(max_rows(), num_queries * per_key - first_row)
    head_bytes = head_dim * width
    key_bytes = head_dim * block_size * width
    value_bytes = padded_dim * block_size * width
    num_computed = context_len - num_queries

    for i in range(num_rows):
        row = first_row + i
        head = kv_head * per_key + row % per_key
        source = queries + (row // per_key * num_heads + head) * head_bytes
        for d in range(0, head_dim, group):
            store_f32(query_rows + i * head_bytes + d * width, load_f32(source + d * width))
        peaks[i] = _MASKED
        sums[i] = 0.0
    for i in range(0, num_rows * padded_dim, vectors.LANES):
        vectors.store(totals + 4 * i, vectors.splat(0.0))

    begin = 0
    if window > 0:
        begin = max(0, num_computed + first_row // per_key + 1 - window) // COLUMNS * COLUMNS
    end = num_computed + (first_row + num_rows - 1) // per_key + 1
    for start in range(begin, end, CHUNK):
        stop = min(start + CHUNK, end)
        for key in range(start, stop, COLUMNS):
            left = _key_columns(keys, table, key, kv_head, num_kv_heads, key_bytes, block_size)
            right = left
            if key + vectors.LANES < end:
                right = _key_columns(
                    keys, table, key + vectors.LANES, kv_head, num_kv_heads, key_bytes, block_size
                )
            multiply_tile(
                tag,
                num_rows,
                False,
                query_rows,
                head_bytes,
                left,
                right,
                block_size * 4,
                head_dim // group,
                scores + (key - start) * 4,
                CHUNK * 4,
            )
        padded = (stop - start + COLUMNS - 1) // COLUMNS * COLUMNS
        for i in range(num_rows):
            position = num_computed + (first_row + i) // per_key
            _mask(scores + i * CHUNK * 4, start, start + padded, position, window)
            _soften(
                tag,
                scores + i * CHUNK * 4,
                padded,
                scale,
                weights + i * CHUNK * width,
                totals + i * padded_dim * 4,
                padded_dim,
                peaks,
                sums,
                i,
            )
        key = start
        while key < stop:
            inner = key % block_size
            num_keys = min(block_size - inner, stop - key)
            block = load_i32(table + key // block_size * 4)
            rows_of_block = (
                values
                + (block * num_kv_heads + kv_head) * value_bytes
                + inner // group * padded_dim * 4
            )
            for d in range(0, padded_dim, COLUMNS):
                multiply_tile(
                    tag,
                    num_rows,
                    True,
                    weights + (key - start) * width,
                    CHUNK * width,
                    rows_of_block + d * 4,
                    rows_of_block + d * 4 + vectors.VECTOR_BYTES,
                    padded_dim * 4,
                    (num_keys + group - 1) // group,
                    totals + d * 4,
                    padded_dim * 4,
                )
            key += num_keys

    for i in range(num_rows):
        row = first_row + i
        head = kv_head * per_key + row % per_key
        target = out + (row // per_key * num_heads + head) * head_bytes
        source = totals + i * padded_dim * 4
        inverse = np.float32(1.0) / sums[i]
        whole = head_dim // vectors.LANES * vectors.LANES
        for d in range(0, whole, vectors.LANES):
            value = vectors.multiply(vectors.load(source + d * 4), vectors.splat(inverse))
            vectors.store_element(tag, target + d * width, value)
        for d in range(whole, head_dim):
            store_one(tag, target + d * width, load_f32(source + d * 4) * inverse)


@subroutine
def _key_columns(
    keys: int,
    table: int,
    key: int,
    kv_head: int,
    num_kv_heads: int,
    key_bytes: int,
    block_size: int,
) -> Any:
    """Address of the vector that begins with this key; blocks hold whole vectors of keys."""
    block = load_i32(table + key // block_size * 4)
    return keys + (block * num_kv_heads + kv_head) * key_bytes + key % block_size * 4


@subroutine
def _mask(scores: int, start: int, stop: int, position: int, window: int) -> None:
    """Hide keys [start, stop) that the token at this position must not see."""
    for key in range(max(start, position + 1), stop):
        store_f32(scores + (key - start) * 4, _MASKED)
    if window > 0:
        for key in range(start, min(stop, position + 1 - window)):
            store_f32(scores + (key - start) * 4, _MASKED)


@subroutine
def _soften(
    tag: Any,
    scores: int,
    num_keys: int,
    scale: Any,
    weights: int,
    totals: int,
    padded_dim: int,
    peaks: Any,
    sums: Any,
    row: int,
) -> None:
    """Turn one row's scores into weights relative to the running peak, and rescale its totals."""
    width = element_bytes(tag)
    top = vectors.splat(_MASKED)
    for key in range(0, num_keys, vectors.LANES):
        top = vectors.maximum(top, vectors.load(scores + 4 * key))
    before = peaks[row]
    peak = max(before, vectors.max_lanes(top))
    scales = vectors.splat(scale)
    shift = vectors.splat(-peak * scale)
    total = vectors.splat(0.0)
    for key in range(0, num_keys, vectors.LANES):
        weight = vectors.exp(vectors.multiply_add(vectors.load(scores + 4 * key), scales, shift))
        total = vectors.add(total, weight)
        vectors.store_element(tag, weights + key * width, weight)
    if peak > before:
        fade = np.float32(np.exp((before - peak) * scale))
        sums[row] *= fade
        for d in range(0, padded_dim, vectors.LANES):
            kept = vectors.multiply(vectors.load(totals + 4 * d), vectors.splat(fade))
            vectors.store(totals + 4 * d, kept)
        peaks[row] = peak
    sums[row] += vectors.sum_lanes(total)
