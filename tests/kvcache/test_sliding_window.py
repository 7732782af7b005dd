"""Blocks of models in which every layer has a sliding window."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.generation.request import Request
from headrace.core.generation.sampling_params import SamplingParams
from headrace.kvcache.block_table import NULL_BLOCK_ID, BlockTable
from headrace.kvcache.manager import KVCacheManager
from headrace.kvcache.sliding_window import SlidingWindow, num_request_blocks

BLOCK_SIZE = 4


def make_manager(
    num_blocks: int = 8, size: int = 6, chunk: int = 4, enable_prefix_caching: bool = True
) -> KVCacheManager:
    return KVCacheManager(
        num_blocks=num_blocks,
        block_size=BLOCK_SIZE,
        enable_prefix_caching=enable_prefix_caching,
        window=SlidingWindow(size=size, max_num_batched_tokens=chunk),
    )


def make_request(num_tokens: int, last: int = 0) -> Request:
    """Requests share all tokens but the last."""
    return Request("r", [*range(num_tokens - 1), last], SamplingParams(), 8, 0.0)


def compute(manager: KVCacheManager, request: Request, chunk: int = 4) -> BlockTable:
    """Admit a request and compute all that it has, chunk by chunk."""
    prefix = manager.find_cached(request)
    assert manager.can_admit(request, prefix)
    start, table = prefix.num_tokens, None
    while start < request.num_tokens:
        end = min(start + chunk, request.num_tokens)
        if table is None:
            table = manager.admit(request, prefix, end - start)
        else:
            assert manager.extend(table, end)
        manager.commit(request, table, end)
        manager.check_integrity()
        start = end
    assert table is not None
    return table


@pytest.mark.parametrize("enable_prefix_caching", [True, False])
def test_a_long_request_needs_few_blocks(enable_prefix_caching: bool) -> None:
    manager = make_manager(num_blocks=4, enable_prefix_caching=enable_prefix_caching)
    request = make_request(101)
    assert manager.num_blocks_for(101) == 4
    table = compute(manager, request)
    # Position 101 sees positions from 96 on.
    assert table.block_ids[:24] == [NULL_BLOCK_ID] * 24
    assert len(table.blocks) == manager.num_used_blocks == 2
    manager.remove(request)
    assert manager.num_used_blocks == 0


def test_blocks_are_kept_until_no_position_sees_them() -> None:
    manager = make_manager(size=6)
    request = make_request(20)
    table = manager.admit(request, manager.find_cached(request), 8)
    manager.commit(request, table, 8)  # position 8 sees positions from 3 on
    assert table.first_held == 0
    assert manager.extend(table, 12)
    manager.commit(request, table, 12)  # position 12 sees positions from 7 on
    assert table.first_held == 1
    assert manager.extend(table, 17)
    manager.commit(request, table, 17)  # position 17 sees positions from 12 on
    assert table.first_held == 3


def test_a_freed_block_is_found_until_its_room_is_needed() -> None:
    manager = make_manager(num_blocks=8, size=6)
    request = make_request(17)
    table = compute(manager, request)
    assert table.first_held == 3
    assert manager.find_cached(make_request(13, 1)).num_tokens == 12
    assert manager.find_cached(make_request(9, 1)).num_tokens == 8
    assert manager.extend(table, 44)  # takes all blocks that are not held
    assert manager.find_cached(make_request(13, 1)).num_tokens == 0
    # Block 3 is still held, and block 2, which position 16 sees too, is not cached any more.
    assert manager.find_cached(make_request(17, 1)).num_tokens == 0


def test_a_hit_needs_the_last_window_alone() -> None:
    manager = make_manager(num_blocks=8, size=6)
    first = make_request(17)
    compute(manager, first)
    manager.remove(first)
    # Evicts the blocks that were freed first: of positions 0 to 7.
    other = Request("other", [99] * 20, SamplingParams(), 8, 0.0)
    admitted = manager.admit(other, manager.find_cached(other), 20)
    manager.free(other)
    assert len(admitted.block_ids) == 5
    again = make_request(18, 1)
    assert manager.find_cached(make_request(12, 1)).num_tokens == 0
    prefix = manager.find_cached(again)
    assert prefix.num_tokens == 16
    assert len(prefix.blocks) == 2
    table = manager.admit(again, prefix, 2)
    assert table.block_ids[:2] == [NULL_BLOCK_ID] * 2
    assert manager.num_hit_tokens == 16
    manager.check_integrity()
    assert manager.num_used_blocks == 3


def test_admission_counts_what_a_long_prompt_needs_at_once() -> None:
    manager = make_manager(num_blocks=6, size=6, chunk=4)
    request = make_request(100)
    prefix = manager.find_cached(request)
    assert manager.can_admit(request, prefix, num_spare_blocks=2)
    assert not manager.can_admit(request, prefix, num_spare_blocks=3)
    short = make_request(8)
    assert manager.can_admit(short, manager.find_cached(short), num_spare_blocks=4)


@pytest.mark.parametrize("values", [(0, 1), (1, 0)])
def test_sizes_below_one_are_refused(values: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        SlidingWindow(size=values[0], max_num_batched_tokens=values[1])


def test_a_window_that_hides_nothing_is_none() -> None:
    assert SlidingWindow.shorter_than(49, 48, 64) == SlidingWindow(
        size=48, max_num_batched_tokens=64
    )
    assert SlidingWindow.shorter_than(48, 48, 64) is None
    assert SlidingWindow.shorter_than(48, None, 64) is None


@settings(deadline=None)
@given(
    size=st.integers(1, 14),
    num_tokens=st.integers(1, 40),
    cached=st.sets(st.integers(0, 9)),
)
def test_the_longest_prefix_is_found_whose_window_is_cached(
    size: int, num_tokens: int, cached: set[int]
) -> None:
    manager = make_manager(num_blocks=10, size=size)
    request = make_request(num_tokens)
    source = make_request(41)
    hashes = manager._chain(source).hashes(source.token_ids, 0, 10)
    for index in range(10):
        blocks = manager._pool.allocate(1)
        assert blocks is not None
        if index in cached:
            manager._pool.commit(blocks[0], hashes[index])

    def is_usable(end: int) -> bool:
        first = max(0, end * BLOCK_SIZE + 1 - size) // BLOCK_SIZE
        needed = set(range(first, end)) or {end - 1}
        return needed <= cached

    num_full = (num_tokens - 1) // BLOCK_SIZE
    longest = max((end for end in range(1, num_full + 1) if is_usable(end)), default=0)
    prefix = manager.find_cached(request)
    assert prefix.num_tokens == longest * BLOCK_SIZE
    assert prefix.next_hash == (hashes[longest] if longest < num_full else None)
    hashes_found = [block.block_hash for block in prefix.blocks]
    assert hashes_found == hashes[longest - len(hashes_found) : longest]


@given(
    size=st.integers(1, 40),
    chunk=st.integers(1, 20),
    block_size=st.sampled_from([1, 2, 4, 8]),
    chunks=st.lists(st.integers(1, 20), min_size=1, max_size=30),
)
def test_no_sequence_of_chunks_needs_more_blocks(
    size: int, chunk: int, block_size: int, chunks: list[int]
) -> None:
    window = SlidingWindow(size=size, max_num_batched_tokens=chunk)
    manager = KVCacheManager(
        num_blocks=num_request_blocks(10_000, block_size, window),
        block_size=block_size,
        window=window,
    )
    request = make_request(sum(min(chunk, count) for count in chunks) + 1)
    table = manager.admit(request, manager.find_cached(request), 0)
    end = 0
    for count in chunks:
        start, end = end, end + min(chunk, count)
        assert manager.extend(table, end)
        if end // block_size > start // block_size:
            manager.commit(request, table, end)
        assert table.first_held * block_size <= max(0, end + 1 - size)
    manager.check_integrity()
