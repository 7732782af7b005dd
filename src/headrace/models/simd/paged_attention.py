"""Attention that reads keys and values in place from the paged cache.

A task is a tile: up to eight rows (query tokens times the heads that share one key head) of one
sequence and key head. It walks the context in chunks of keys, with a running maximum and sum for
each row (online softmax: Milakov and Gimelshein, 2018; FlashAttention: Dao et al., 2022):

                      head_dim                 128 keys of a chunk               padded_dim
                    +----------+       +------+------+------+------+       +------+-- ... --+
    up to 8 rows    | queries  |  -->  |    scores, then weights   |  -->  |  totals        |
                    +----------+       +------+------+------+------+       +------+-- ... --+
                                        32 columns = one multiply_tile      32 columns each

1. Copy the rows' queries side by side.
2. For each chunk of keys, from the block of the first key that a row's window shows:
   a. scores = queries @ keys.T, through tanh where the model caps them
   b. _mask hides the keys after a row's position, and those before its window.
   c. _softmax_chunk: weights = e^(scores - running max); totals are rescaled where that grows.
   d. totals += weights @ values
3. out = totals / running sum, to which a head's sink adds e^(sink - running max)

A row's result is independent of the other rows, and so of the batch: chunks end at multiples of
128 whatever the tile's first row sees, and keys that a row does not see add zeros to its sums.
"""

from typing import Any, NamedTuple

import numpy as np

from headrace.models.simd import vectors
from headrace.models.simd.attention_step import PackedStep, Step
from headrace.models.simd.jit import subroutine
from headrace.models.simd.kernel import constructor, kernel_of, read
from headrace.models.simd.matmul import COLUMNS
from headrace.models.simd.matmul_tile import max_rows, multiply_tile
from headrace.models.simd.scalars import (
    element_bytes,
    load_f32,
    load_i32,
    stack_memory,
    store_f32,
    store_one,
)
from headrace.models.simd.thread_pool import ThreadPool
from headrace.models.simd.vectors import BF16, FP32, Element

CHUNK = 128
"""Keys whose scores are held at once, a multiple of a tile's columns."""

assert CHUNK % COLUMNS == 0, "a chunk is computed in whole tiles"

_MASKED = np.float32(-1e30)


class _Attention(NamedTuple):
    step: int
    keys: int
    values: int
    window: int
    sinks: int


_attention = constructor(_Attention)


def attend(
    pool: ThreadPool,
    tag: Element,
    *,
    step: PackedStep,
    keys: int,
    values: int,
    window: int,
    sinks: int = 0,
) -> None:
    """Write the step's out; rotate_and_store comes before.

    keys, values: one layer of the cache (see attention_step).
    window: positions that a token sees, its own among them; 0 for all.
    sinks: [num_heads] float32, scores of nothing at all; address 0 for none.
    Raises ValueError for a negative window; KernelError for a context that is longer than its
    block table, and for a block that is not in the cache.
    """
    if window < 0:
        raise ValueError(f"window must not be negative: {window}")
    arguments = _attention(step=step.address, keys=keys, values=values, window=window, sinks=sinks)
    kernels = _ATTEND_CAPPED if step.is_capped else _ATTEND
    pool.run(kernels[type(tag)], step.num_attention_tasks, arguments)


@kernel_of(_Attention)
def _attend_bf16(arguments: int, task: int) -> bool:
    return _attend(BF16, False, arguments, task)


@kernel_of(_Attention)
def _attend_fp32(arguments: int, task: int) -> bool:
    return _attend(FP32, False, arguments, task)


@kernel_of(_Attention)
def _attend_capped_bf16(arguments: int, task: int) -> bool:
    return _attend(BF16, True, arguments, task)


@kernel_of(_Attention)
def _attend_capped_fp32(arguments: int, task: int) -> bool:
    return _attend(FP32, True, arguments, task)


_ATTEND = {np.uint16: _attend_bf16, np.float32: _attend_fp32}
_ATTEND_CAPPED = {np.uint16: _attend_capped_bf16, np.float32: _attend_capped_fp32}


@subroutine
def _attend(tag: Any, is_capped: bool, arguments: int, task: int) -> bool:
    """One task: a tile of rows and a key head."""
    call = read(_Attention, arguments)
    step = read(Step, call.step)
    rows = max_rows()
    query_rows = stack_memory(rows * step.padded_dim * 4)
    scores = stack_memory(rows * CHUNK * 4)
    weights = stack_memory(rows * CHUNK * 4)
    totals = stack_memory(rows * step.padded_dim * 4)
    running_max = stack_memory(rows * 4)
    running_sum = stack_memory(rows * 4)
    tile = step.num_tiles - 1 - task // step.num_kv_heads  # the last tiles take longest: first
    seq = load_i32(step.tile_seqs + 4 * tile)
    first_query = load_i32(step.query_starts + 4 * seq)
    token_bytes = step.num_heads * step.head_dim * element_bytes(tag)
    _attend_tile(
        tag,
        is_capped,
        step,
        call,
        task % step.num_kv_heads,
        load_i32(step.tile_rows + 4 * tile),
        load_i32(step.query_starts + 4 * seq + 4) - first_query,
        load_i32(step.context_lens + 4 * seq),
        step.block_tables + seq * step.table_stride,
        step.queries + first_query * token_bytes,
        query_rows,
        scores,
        weights,
        totals,
        running_max,
        running_sum,
        step.out + first_query * token_bytes,
    )
    return True


@subroutine
def _attend_tile(
    tag: Any,
    is_capped: bool,
    step: Any,
    call: Any,
    kv_head: int,
    first_row: int,
    num_queries: int,
    context_len: int,
    table: int,
    queries: int,
    query_rows: int,
    scores: int,
    weights: int,
    totals: int,
    running_max: int,
    running_sum: int,
    out: int,
) -> None:
    """The sequence's row r is query r // rows_per_query of head r % rows_per_query of the key head.

    step, call: a Step and an _Attention; table, queries, out: of the sequence.
    """
    num_heads, num_kv_heads = step.num_heads, step.num_kv_heads
    head_dim, padded_dim, block_size = step.head_dim, step.padded_dim, step.block_size
    keys, values, window = call.keys, call.values, call.window
    scale = np.float32(step.scale)
    width = element_bytes(tag)
    group = 4 // width
    rows_per_query = num_heads // num_kv_heads
    num_rows = min(max_rows(), num_queries * rows_per_query - first_row)
    head_bytes = head_dim * width
    key_bytes = head_dim * block_size * width
    value_bytes = padded_dim * block_size * width
    num_computed = context_len - num_queries

    # 1. queries
    for i in range(num_rows):
        row = first_row + i
        head = kv_head * rows_per_query + row % rows_per_query
        source = queries + (row // rows_per_query * num_heads + head) * head_bytes
        for d in range(0, head_dim, group):
            store_f32(query_rows + i * head_bytes + d * width, load_f32(source + d * width))
        store_f32(running_max + 4 * i, _MASKED)
        store_f32(running_sum + 4 * i, np.float32(0.0))
    for i in range(0, num_rows * padded_dim, vectors.LANES):
        vectors.store(totals + 4 * i, vectors.splat(0.0))

    begin = 0
    if window > 0:
        first_seen = max(0, num_computed + first_row // rows_per_query + 1 - window)
        begin = first_seen // vectors.LANES * vectors.LANES  # in the same block
    end = num_computed + (first_row + num_rows - 1) // rows_per_query + 1
    _check_blocks(step, table, begin, end)
    start = begin
    while start < end:
        stop = min(start // CHUNK * CHUNK + CHUNK, end)
        # a. scores
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
        # b. mask, c. softmax
        padded = (stop - start + vectors.LANES - 1) // vectors.LANES * vectors.LANES
        for i in range(num_rows):
            position = num_computed + (first_row + i) // rows_per_query
            if window > 0 and position + 1 - window >= stop:
                # All scores would be _MASKED, and so the largest one too.
                _store_zeros(tag, weights + i * CHUNK * width, padded)
                continue
            if is_capped:
                _tanh(scores + i * CHUNK * 4, padded, np.float32(step.tanh_scale))
            _mask(scores + i * CHUNK * 4, start, start + padded, position, window)
            _softmax_chunk(
                tag,
                scores + i * CHUNK * 4,
                padded,
                scale,
                weights + i * CHUNK * width,
                totals + i * padded_dim * 4,
                padded_dim,
                running_max + 4 * i,
                running_sum + 4 * i,
            )
        # d. totals
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
        start = stop

    # 3. out
    for i in range(num_rows):
        row = first_row + i
        head = kv_head * rows_per_query + row % rows_per_query
        target = out + (row // rows_per_query * num_heads + head) * head_bytes
        source = totals + i * padded_dim * 4
        total = load_f32(running_sum + 4 * i)
        if call.sinks != 0:
            sink = load_f32(call.sinks + 4 * head) - load_f32(running_max + 4 * i) * scale
            total += np.float32(np.exp(sink))
        inverse = np.float32(1.0) / total
        whole = head_dim // vectors.LANES * vectors.LANES
        for d in range(0, whole, vectors.LANES):
            value = vectors.multiply(vectors.load(source + d * 4), vectors.splat(inverse))
            vectors.store_element(tag, target + d * width, value)
        for d in range(whole, head_dim):
            store_one(tag, target + d * width, load_f32(source + d * 4) * inverse)


@subroutine
def _check_blocks(step: Any, table: int, begin: int, end: int) -> None:
    """Raises IndexError if positions [begin, end) are not in blocks of the cache."""
    if end > step.table_stride // 4 * step.block_size:
        raise IndexError("a context is longer than its block table")
    for index in range(begin // step.block_size, (end - 1) // step.block_size + 1):
        block = load_i32(table + 4 * index)
        if block < 0 or block >= step.num_blocks:
            raise IndexError("a block is outside of the cache")


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
def _store_zeros(tag: Any, weights: int, num_keys: int) -> None:
    """The weights of keys that a row does not see."""
    for key in range(0, num_keys, vectors.LANES):
        vectors.store_element(tag, weights + key * element_bytes(tag), vectors.splat(0.0))


@subroutine
def _tanh(scores: int, num_keys: int, scale: Any) -> None:
    """Each score s becomes tanh(scale * s) = 1 - 2 / (e^(2 scale s) + 1)."""
    twice = vectors.splat(scale * np.float32(2.0))
    one = vectors.splat(1.0)
    minus_two = vectors.splat(-2.0)
    for key in range(0, num_keys, vectors.LANES):
        power = vectors.exp(vectors.multiply(vectors.load(scores + 4 * key), twice))
        value = vectors.add(one, vectors.divide(minus_two, vectors.add(power, one)))
        vectors.store(scores + 4 * key, value)


@subroutine
def _mask(scores: int, start: int, stop: int, position: int, window: int) -> None:
    """Hide keys [start, stop) that the token at this position must not see."""
    for key in range(max(start, position + 1), stop):
        store_f32(scores + (key - start) * 4, _MASKED)
    if window > 0:
        for key in range(start, min(stop, position + 1 - window)):
            store_f32(scores + (key - start) * 4, _MASKED)


@subroutine
def _softmax_chunk(
    tag: Any,
    scores: int,
    num_keys: int,
    scale: Any,
    weights: int,
    totals: int,
    padded_dim: int,
    max_at: int,
    sum_at: int,
) -> None:
    """Turn one row's scores of a chunk into weights e^(score - running max), and add their sum.

    Where the running maximum grows, the row's totals and sum are rescaled to the new one.
    """
    width = element_bytes(tag)
    maxima = vectors.splat(_MASKED)
    for key in range(0, num_keys, vectors.LANES):
        maxima = vectors.maximum(maxima, vectors.load(scores + 4 * key))
    previous_max = load_f32(max_at)
    new_max = max(previous_max, vectors.max_lanes(maxima))
    scales = vectors.splat(scale)
    shift = vectors.splat(-new_max * scale)
    sums = vectors.splat(0.0)
    for key in range(0, num_keys, vectors.LANES):
        weight = vectors.exp(vectors.multiply_add(vectors.load(scores + 4 * key), scales, shift))
        sums = vectors.add(sums, weight)
        vectors.store_element(tag, weights + key * width, weight)
    if new_max > previous_max:
        rescale = np.float32(np.exp((previous_max - new_max) * scale))
        store_f32(sum_at, load_f32(sum_at) * rescale)
        for d in range(0, padded_dim, vectors.LANES):
            rescaled = vectors.multiply(vectors.load(totals + 4 * d), vectors.splat(rescale))
            vectors.store(totals + 4 * d, rescaled)
        store_f32(max_at, new_max)
    store_f32(sum_at, load_f32(sum_at) + vectors.sum_lanes(sums))
