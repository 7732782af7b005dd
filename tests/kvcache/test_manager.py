import pytest

from headrace.core.generation.request import Request
from headrace.core.generation.sampling_params import SamplingParams
from headrace.kvcache.block_table import BlockTable
from headrace.kvcache.manager import KVCacheManager

BLOCK_SIZE = 4


def make_manager(num_blocks: int = 8, enable_prefix_caching: bool = True) -> KVCacheManager:
    return KVCacheManager(
        num_blocks=num_blocks, block_size=BLOCK_SIZE, enable_prefix_caching=enable_prefix_caching
    )


def make_request(token_ids: list[int], salt: str = "") -> Request:
    return Request("r", token_ids, SamplingParams(), 8, 0.0, cache_salt=salt)


def compute(manager: KVCacheManager, request: Request) -> BlockTable:
    """Admit a request and compute all that it has."""
    prefix = manager.find_cached(request)
    assert manager.can_admit(request, prefix)
    table = manager.admit(request, prefix, request.num_tokens - prefix.num_tokens)
    manager.commit(request, table, request.num_tokens)
    manager.check_integrity()
    return table


def test_a_computed_prefix_is_shared() -> None:
    manager = make_manager()
    first = compute(manager, make_request(list(range(10))))
    second = compute(manager, make_request([*range(8), 99, 98]))
    assert second.block_ids[:2] == first.block_ids[:2]
    assert second.block_ids[2] != first.block_ids[2]
    assert manager.num_used_blocks == 4
    assert manager.num_queried_tokens == 20
    assert manager.num_hit_tokens == 8


def test_a_block_is_not_cached_before_it_is_computed() -> None:
    manager = make_manager()
    request = make_request(list(range(10)))
    table = manager.admit(request, manager.find_cached(request), 10)
    other = make_request(list(range(10)))
    assert manager.find_cached(other).num_tokens == 0
    manager.commit(request, table, 7)
    assert manager.find_cached(other).num_tokens == 4
    manager.commit(request, table, 8)
    assert manager.find_cached(other).num_tokens == 8


def test_a_complete_prompt_is_never_a_full_hit() -> None:
    manager = make_manager()
    compute(manager, make_request(list(range(8))))
    assert manager.find_cached(make_request(list(range(8)))).num_tokens == 4
    assert manager.find_cached(make_request(list(range(9)))).num_tokens == 8


def test_the_next_hash_is_that_of_the_first_missing_block() -> None:
    manager = make_manager()
    request = make_request(list(range(12)))
    table = manager.admit(request, manager.find_cached(request), 12)
    hashes = manager.hashes_within(request, table, 0, 12)
    manager.commit(request, table, 4)
    other = make_request([*range(12), 1])
    assert manager.find_cached(other).next_hash == hashes[1]
    manager.commit(request, table, 12)
    assert manager.find_cached(other).next_hash is None
    # Its last token must be computed, so the third block is always computed.
    assert manager.find_cached(make_request(list(range(12)))).next_hash is None


def test_blocks_become_full_when_their_last_token_is_computed() -> None:
    manager = make_manager()
    request = make_request(list(range(12)))
    table = manager.admit(request, manager.find_cached(request), 12)
    assert len(manager.hashes_within(request, table, 0, 3)) == 0
    assert len(manager.hashes_within(request, table, 3, 4)) == 1
    assert len(manager.hashes_within(request, table, 2, 11)) == 2


def test_different_salts_share_no_blocks() -> None:
    manager = make_manager()
    compute(manager, make_request(list(range(10)), "a"))
    assert manager.find_cached(make_request(list(range(10)), "b")).num_tokens == 0
    assert manager.find_cached(make_request(list(range(10)), "a")).num_tokens == 8


def test_without_prefix_caching_there_are_no_lookups() -> None:
    manager = make_manager(enable_prefix_caching=False)
    table = compute(manager, request := make_request(list(range(10))))
    prefix = manager.find_cached(make_request(list(range(10))))
    assert (prefix.blocks, prefix.num_tokens, prefix.next_hash) == ([], 0, None)
    assert manager.hashes_within(request, table, 0, 10) == []
    assert manager.num_queried_tokens == 0


def test_a_freed_prefix_is_evicted_from_its_end() -> None:
    manager = make_manager(num_blocks=4)
    old = make_request(list(range(16)))
    compute(manager, old)
    manager.remove(old)
    assert manager.num_free_blocks == 4
    again = make_request([*range(16), 16])
    assert manager.find_cached(again).num_tokens == 16
    compute(manager, make_request([7] * 8))
    assert manager.find_cached(again).num_tokens == 8


def test_extend_allocates_only_missing_blocks() -> None:
    manager = make_manager(num_blocks=3)
    request = make_request(list(range(3)))
    table = manager.admit(request, manager.find_cached(request), 3)
    assert manager.extend(table, 4)
    assert manager.extend(table, 5)
    assert not manager.extend(table, 13)
    assert table.num_slots == 8
    assert manager.extend(table, 12)
    manager.check_integrity()


def test_a_free_cached_block_counts_as_allocated_when_shared() -> None:
    manager = make_manager(num_blocks=3)
    old = make_request(list(range(8)))
    compute(manager, old)
    manager.remove(old)
    longer = make_request(list(range(13)))
    assert not manager.can_admit(longer, manager.find_cached(longer))
    fitting = make_request(list(range(12)))
    prefix = manager.find_cached(fitting)
    assert manager.can_admit(fitting, prefix)
    assert not manager.can_admit(fitting, prefix, num_spare_blocks=1)


def test_a_block_in_use_is_not_counted_as_allocated() -> None:
    manager = make_manager(num_blocks=3)
    compute(manager, make_request(list(range(8))))
    other = make_request(list(range(12)))
    assert manager.can_admit(other, manager.find_cached(other))
    compute(manager, other)
    assert manager.num_free_blocks == 0


def test_a_preempted_request_reuses_its_blocks_and_is_not_counted_again() -> None:
    manager = make_manager()
    request = make_request(list(range(10)))
    compute(manager, request)
    manager.free(request)
    request.num_preemptions = 1
    assert manager.find_cached(request).num_tokens == 8
    compute(manager, request)
    assert manager.num_queried_tokens == 10
    assert manager.num_hit_tokens == 0


def test_removing_twice_or_an_unknown_request_does_nothing() -> None:
    manager = make_manager()
    request = make_request(list(range(10)))
    compute(manager, request)
    manager.remove(request)
    manager.remove(request)
    manager.remove(make_request([1]))
    manager.check_integrity()
    assert manager.num_used_blocks == 0


def test_a_failed_admission_changes_nothing() -> None:
    manager = make_manager(num_blocks=1)
    request = make_request(list(range(10)))
    with pytest.raises(ValueError, match="ask can_admit first"):
        manager.admit(request, manager.find_cached(request), 10)
    manager.check_integrity()
    assert manager.num_free_blocks == 1


def test_the_integrity_check_finds_a_block_allocated_twice() -> None:
    manager = make_manager()
    first = compute(manager, make_request([1, 2]))
    second = compute(manager, make_request([3, 4]))
    second.blocks[0] = first.blocks[0]
    second.block_ids[0] = first.block_ids[0]
    with pytest.raises(AssertionError):
        manager.check_integrity()
