"""Triton kernels over the paged cache: write keys and values, attend in decode and in prefill.

Import it lazily: Triton is optional. cuda.py launches these.

Both caches of a layer are [num_blocks, num_kv_heads, block_size, head_dim], so that what one
program reads of a block lies together. Shapes of tiles are powers of two, as Triton needs them,
and padded lanes are masked on every load: whatever lies in the cache past a sequence's context is
never read. Scores are kept in powers of two (exp2), which the hardware has an instruction for.
"""

# ruff: noqa: N803, N806
# mypy: ignore-errors
# (Triton's language is Python's syntax with types of its own.)

import triton
import triton.language as tl

_SIZES = ["num_seqs", "num_splits", "qkv_stride", "table_stride"]
"""Vary from step to step: no specialization, or each new value would compile a kernel again."""


@triton.jit(do_not_specialize=_SIZES)
def norm_rotate_write(
    qkv,  # [T, (num_heads + 2 * num_kv_heads) * head_dim]; queries are rotated in place
    cos,  # [max_position, head_dim / 2] float32
    sin,
    query_weight,  # [head_dim], read only if HAS_NORM
    key_weight,
    key_cache,
    value_cache,
    positions,  # [T]
    slots,  # [T]
    context_lens,  # [S], read only if ONE_QUERY_EACH
    qkv_stride,
    eps,
    NUM_HEADS: tl.constexpr,
    NUM_KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    HAS_NORM: tl.constexpr,
    ONE_QUERY_EACH: tl.constexpr,
    TILE_HEADS: tl.constexpr,
    HALF_PADDED: tl.constexpr,
):
    """Grid (T, tiles of heads): RMS norm and rotate q and k, write k and v into the cache.

    Where each sequence has one query, row t is sequence t; an empty context marks it as padding,
    for which nothing is written.
    """
    token = tl.program_id(0).to(tl.int64)
    if ONE_QUERY_EACH:  # noqa: SIM102
        if tl.load(context_lens + token) == 0:
            return
    HALF: tl.constexpr = HEAD_DIM // 2
    head = tl.program_id(1) * TILE_HEADS + tl.arange(0, TILE_HEADS)
    pair = tl.arange(0, HALF_PADDED)
    is_query = head < NUM_HEADS
    is_value = head >= NUM_HEADS + NUM_KV_HEADS
    real_pair = pair < HALF
    real = (head < NUM_HEADS + 2 * NUM_KV_HEADS)[:, None] & real_pair[None, :]

    at = qkv + token * qkv_stride + head[:, None] * HEAD_DIM + pair[None, :]
    first = tl.load(at, mask=real, other=0.0).to(tl.float32)  # [TILE_HEADS, HALF_PADDED]
    second = tl.load(at + HALF, mask=real, other=0.0).to(tl.float32)

    if HAS_NORM:
        mean_square = (tl.sum(first * first, 1) + tl.sum(second * second, 1)) / HEAD_DIM
        scale = tl.where(is_value, 1.0, 1.0 / tl.sqrt(mean_square + eps))[:, None]
        first *= scale * _norm_weight(query_weight, key_weight, pair, real_pair, is_query, is_value)
        second *= scale * _norm_weight(
            query_weight + HALF, key_weight + HALF, pair, real_pair, is_query, is_value
        )

    angle_at = tl.load(positions + token).to(tl.int64) * HALF + pair
    c = tl.load(cos + angle_at, mask=real_pair, other=0.0)[None, :]
    s = tl.load(sin + angle_at, mask=real_pair, other=0.0)[None, :]
    c = tl.where(is_value[:, None], 1.0, c)
    s = tl.where(is_value[:, None], 0.0, s)
    rotated_first = first * c - second * s
    rotated_second = second * c + first * s

    element = qkv.dtype.element_ty
    to_query = real & is_query[:, None]
    tl.store(at, rotated_first.to(element), mask=to_query)
    tl.store(at + HALF, rotated_second.to(element), mask=to_query)

    slot = tl.load(slots + token).to(tl.int64)
    kv_head = tl.where(is_value, head - NUM_HEADS - NUM_KV_HEADS, head - NUM_HEADS)
    row = (slot // BLOCK_SIZE * NUM_KV_HEADS + kv_head) * BLOCK_SIZE + slot % BLOCK_SIZE
    cache_at = row[:, None] * HEAD_DIM + pair[None, :]
    to_key = real & ((head >= NUM_HEADS) & (head < NUM_HEADS + NUM_KV_HEADS))[:, None]
    to_value = real & is_value[:, None]
    element = key_cache.dtype.element_ty
    tl.store(key_cache + cache_at, rotated_first.to(element), mask=to_key)
    tl.store(key_cache + cache_at + HALF, rotated_second.to(element), mask=to_key)
    tl.store(value_cache + cache_at, rotated_first.to(element), mask=to_value)
    tl.store(value_cache + cache_at + HALF, rotated_second.to(element), mask=to_value)


@triton.jit
def _norm_weight(query_weight, key_weight, pair, real_pair, is_query, is_value):
    """Each head's weights of the norm, one for values: [TILE_HEADS, HALF_PADDED]."""
    of_query = tl.load(query_weight + pair, mask=real_pair, other=0.0).to(tl.float32)[None, :]
    of_key = tl.load(key_weight + pair, mask=real_pair, other=0.0).to(tl.float32)[None, :]
    weight = tl.where(is_query[:, None], of_query, of_key)
    return tl.where(is_value[:, None], 1.0, weight)


@triton.jit(do_not_specialize=_SIZES)
def attend_decode(
    qkv,
    key_cache,
    value_cache,
    block_tables,  # [S, max_blocks]
    query_starts,  # [S + 1]
    context_lens,  # [S]
    output,  # [T, num_heads * head_dim], written if WHOLE
    partial_outputs,  # [S, num_heads, num_splits, head_dim] float32, written if not WHOLE
    partial_logsums,  # [S, num_heads, num_splits] float32, base 2, written if not WHOLE
    sinks,  # [num_heads] float32, read if HAS_SINKS; so in the other kernels
    num_splits,
    qkv_stride,
    table_stride,
    score_scale,  # of scores; times log2(e), or over the softcap
    NUM_HEADS: tl.constexpr,
    NUM_KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    HAS_SINKS: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    WINDOW: tl.constexpr,
    WHOLE: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_KEYS: tl.constexpr,
    DIM_PADDED: tl.constexpr,
    SOFTCAP: tl.constexpr,  # times log2(e); 0 for none
):
    """Grid (S, num_kv_heads, num_splits): sequences that have one query in this step.

    Flash-decoding (Dao et al., 2023): each program attends to one of num_splits even shares of
    the visible context, for all query heads that share a key and value head; reduce_splits joins
    the shares. The shares follow the true context, so the grid need not.
    """
    GROUP: tl.constexpr = NUM_HEADS // NUM_KV_HEADS
    seq = tl.program_id(0)
    kv_head = tl.program_id(1)
    split = tl.program_id(2)
    token = tl.load(query_starts + seq)
    if tl.load(query_starts + seq + 1) - token != 1:
        return
    context_len = tl.load(context_lens + seq)
    lowest = 0
    if HAS_WINDOW:
        lowest = tl.maximum(context_len - WINDOW, 0)
    share = tl.cdiv(tl.cdiv(context_len - lowest, TILE_KEYS), num_splits) * TILE_KEYS
    begin = lowest + split * share
    end = tl.minimum(begin + share, context_len)

    row = tl.arange(0, TILE_ROWS)
    dim = tl.arange(0, DIM_PADDED)
    head = kv_head * GROUP + row
    real = (row < GROUP)[:, None] & (dim < HEAD_DIM)[None, :]
    query_at = token.to(tl.int64) * qkv_stride + head[:, None] * HEAD_DIM + dim[None, :]
    query = tl.load(qkv + query_at, mask=real, other=0.0)  # [TILE_ROWS, DIM_PADDED]
    query = query.to(key_cache.dtype.element_ty)

    highest = tl.full([TILE_ROWS], float("-inf"), tl.float32)
    total = tl.zeros([TILE_ROWS], tl.float32)
    sums = tl.zeros([TILE_ROWS, DIM_PADDED], tl.float32)
    table = block_tables + seq.to(tl.int64) * table_stride
    for start in range(begin, end, TILE_KEYS):
        position = start + tl.arange(0, TILE_KEYS)
        keys, values = _load_tile(
            key_cache, value_cache, table, position, position < end, kv_head,
            NUM_KV_HEADS, HEAD_DIM, BLOCK_SIZE, DIM_PADDED,
        )  # fmt: skip
        visible = (position < end)[None, :]
        highest, total, sums = _accumulate(
            query, keys, values, visible, score_scale, highest, total, sums, SOFTCAP
        )

    if HAS_SINKS and WHOLE:
        total += _sink_weights(sinks + head, row < GROUP, highest)
    total = tl.where(begin < end, total, 1.0)  # nothing is visible: an output of zeros
    attended = sums / total[:, None]
    if WHOLE:
        output_at = token.to(tl.int64) * NUM_HEADS * HEAD_DIM
        output_at += head[:, None] * HEAD_DIM + dim[None, :]
        tl.store(output + output_at, attended.to(output.dtype.element_ty), mask=real)
    else:
        part = (seq.to(tl.int64) * NUM_HEADS + head) * num_splits + split
        tl.store(partial_outputs + part[:, None] * HEAD_DIM + dim[None, :], attended, mask=real)
        tl.store(partial_logsums + part, highest + tl.log2(total), mask=row < GROUP)


@triton.jit(do_not_specialize=_SIZES)
def reduce_splits(
    partial_outputs,
    partial_logsums,
    query_starts,
    output,
    sinks,
    num_splits,
    HAS_SINKS: tl.constexpr,
    NUM_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    DIM_PADDED: tl.constexpr,
):
    """Grid (S, num_heads): join the shares of attend_decode, weighted by their sums."""
    seq = tl.program_id(0)
    head = tl.program_id(1)
    token = tl.load(query_starts + seq)
    if tl.load(query_starts + seq + 1) - token != 1:
        return
    dim = tl.arange(0, DIM_PADDED)
    real = dim < HEAD_DIM
    part = (seq.to(tl.int64) * NUM_HEADS + head) * num_splits

    highest = float("-inf")
    for split in range(num_splits):
        highest = tl.maximum(highest, tl.load(partial_logsums + part + split))
    highest = tl.where(highest == float("-inf"), 0.0, highest)
    total = 0.0
    if HAS_SINKS:
        total = _sink_weights(sinks + head, True, highest)
    sums = tl.zeros([DIM_PADDED], tl.float32)
    for split in range(num_splits):
        weight = tl.exp2(tl.load(partial_logsums + part + split) - highest)
        share = tl.load(partial_outputs + (part + split) * HEAD_DIM + dim, mask=real, other=0.0)
        total += weight
        sums += weight * share
    attended = sums / tl.where(total > 0, total, 1.0)
    output_at = (token.to(tl.int64) * NUM_HEADS + head) * HEAD_DIM + dim
    tl.store(output + output_at, attended.to(output.dtype.element_ty), mask=real)


@triton.jit(do_not_specialize=_SIZES)
def attend_prefill(
    qkv,
    key_cache,
    value_cache,
    block_tables,  # [S, max_blocks]
    query_starts,  # [S + 1]
    context_lens,  # [S]
    output,  # [T, num_heads * head_dim]
    sinks,
    num_seqs,
    qkv_stride,
    table_stride,
    score_scale,
    NUM_HEADS: tl.constexpr,
    NUM_KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    HAS_SINKS: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    WINDOW: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_KEYS: tl.constexpr,
    DIM_PADDED: tl.constexpr,
    SOFTCAP: tl.constexpr,  # times log2(e); 0 for none
):
    """Grid (T // tile_queries + S, num_kv_heads): sequences of two queries and more.

    FlashAttention-2 (Dao, 2023) with keys and values read through the block table. A tile is
    tile_queries queries of one sequence times the query heads that share a key and value head.
    """
    GROUP: tl.constexpr = NUM_HEADS // NUM_KV_HEADS
    TILE_QUERIES: tl.constexpr = TILE_ROWS // GROUP
    tile = tl.program_id(0)
    kv_head = tl.program_id(1)
    seq = _sequence_of_tile(query_starts, tile, num_seqs, TILE_QUERIES)
    token = tl.load(query_starts + seq)
    query_len = tl.load(query_starts + seq + 1) - token
    first_query = (tile - _first_tile(query_starts, seq, TILE_QUERIES)) * TILE_QUERIES
    if (query_len == 1) | (first_query >= query_len):
        return

    num_computed = tl.load(context_lens + seq) - query_len
    row = tl.arange(0, TILE_ROWS)
    dim = tl.arange(0, DIM_PADDED)
    query_index = first_query + row // GROUP
    head = kv_head * GROUP + row % GROUP
    real_row = (row < TILE_QUERIES * GROUP) & (query_index < query_len)
    real = real_row[:, None] & (dim < HEAD_DIM)[None, :]
    query_token = (token + query_index).to(tl.int64)[:, None]
    query_at = query_token * qkv_stride + head[:, None] * HEAD_DIM + dim[None, :]
    query = tl.load(qkv + query_at, mask=real, other=0.0)  # [TILE_ROWS, DIM_PADDED]
    query = query.to(key_cache.dtype.element_ty)

    query_position = num_computed + query_index
    begin = 0
    if HAS_WINDOW:
        begin = tl.maximum(num_computed + first_query - WINDOW + 1, 0)
    end = num_computed + tl.minimum(first_query + TILE_QUERIES, query_len)

    highest = tl.full([TILE_ROWS], float("-inf"), tl.float32)
    total = tl.zeros([TILE_ROWS], tl.float32)
    sums = tl.zeros([TILE_ROWS, DIM_PADDED], tl.float32)
    table = block_tables + seq.to(tl.int64) * table_stride
    for start in range(begin, end, TILE_KEYS):
        position = start + tl.arange(0, TILE_KEYS)
        keys, values = _load_tile(
            key_cache, value_cache, table, position, position < end, kv_head,
            NUM_KV_HEADS, HEAD_DIM, BLOCK_SIZE, DIM_PADDED,
        )  # fmt: skip
        visible = (position[None, :] <= query_position[:, None]) & (position < end)[None, :]
        if HAS_WINDOW:
            visible &= position[None, :] > query_position[:, None] - WINDOW
        highest, total, sums = _accumulate(
            query, keys, values, visible, score_scale, highest, total, sums, SOFTCAP
        )

    if HAS_SINKS:
        total += _sink_weights(sinks + head, real_row, highest)
    attended = sums / tl.where(total > 0, total, 1.0)[:, None]
    output_at = query_token * NUM_HEADS * HEAD_DIM + head[:, None] * HEAD_DIM + dim[None, :]
    tl.store(output + output_at, attended.to(output.dtype.element_ty), mask=real)


@triton.jit
def _sink_weights(sinks, real, highest):
    """What sinks add to the sums of rows with these highest scores."""
    return tl.exp2(tl.load(sinks, mask=real, other=0.0) * 1.4426950408889634 - highest)  # log2(e)


@triton.jit
def _first_tile(query_starts, seq, TILE_QUERIES: tl.constexpr):
    """Tiles are dealt without knowing the lengths: one spare a sequence makes room for all."""
    return tl.load(query_starts + seq) // TILE_QUERIES + seq


@triton.jit
def _sequence_of_tile(query_starts, tile, num_seqs, TILE_QUERIES: tl.constexpr):
    """The last sequence whose first tile is not past this one, by halving."""
    low = tile * 0
    high = num_seqs
    while high - low > 1:
        middle = (low + high) // 2
        if _first_tile(query_starts, middle, TILE_QUERIES) <= tile:
            low = middle
        else:
            high = middle
    return low


@triton.jit
def _load_tile(
    key_cache,
    value_cache,
    table,
    position,
    real_position,
    kv_head,
    NUM_KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    DIM_PADDED: tl.constexpr,
):
    """Keys [DIM_PADDED, TILE_KEYS] and values [TILE_KEYS, DIM_PADDED] of these positions."""
    block = tl.load(table + position // BLOCK_SIZE, mask=real_position, other=0).to(tl.int64)
    row = (block * NUM_KV_HEADS + kv_head) * BLOCK_SIZE + position % BLOCK_SIZE
    dim = tl.arange(0, DIM_PADDED)
    real_dim = dim < HEAD_DIM
    keys = tl.load(
        key_cache + row[None, :] * HEAD_DIM + dim[:, None],
        mask=real_position[None, :] & real_dim[:, None],
        other=0.0,
    )
    values = tl.load(
        value_cache + row[:, None] * HEAD_DIM + dim[None, :],
        mask=real_position[:, None] & real_dim[None, :],
        other=0.0,
    )
    return keys, values


@triton.jit
def _accumulate(
    query, keys, values, visible, score_scale, highest, total, sums, SOFTCAP: tl.constexpr
):
    """One step of the online softmax (Milakov and Gimelshein, 2018)."""
    scores = tl.dot(query, keys, input_precision="ieee") * score_scale
    if SOFTCAP > 0:
        scores = SOFTCAP * (2 * tl.sigmoid(2 * scores) - 1)  # tanh
    scores = tl.where(visible, scores, float("-inf"))
    new_highest = tl.maximum(highest, tl.max(scores, 1))
    # A row that sees nothing yet has no highest; any finite number keeps it at zero.
    base = tl.where(new_highest == float("-inf"), 0.0, new_highest)
    weights = tl.exp2(scores - base[:, None])
    shrink = tl.exp2(highest - base)
    total = total * shrink + tl.sum(weights, 1)
    sums = sums * shrink[:, None]
    sums = tl.dot(weights.to(values.dtype), values, sums, input_precision="ieee")
    return new_highest, total, sums
