import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headrace.kvcache.block_hash import BlockHash
from headrace.kvcache.block_pool import Block, BlockPool


def name(number: int) -> BlockHash:
    return BlockHash(number.to_bytes(2))


def take(pool: BlockPool, count: int) -> list[Block]:
    blocks = pool.allocate(count)
    assert blocks is not None
    return blocks


def test_a_failed_allocation_changes_nothing() -> None:
    pool = BlockPool(3)
    take(pool, 2)
    assert pool.allocate(2) is None
    assert pool.num_free == 1
    assert take(pool, 1)


def test_a_released_block_is_cached_until_it_is_evicted() -> None:
    pool = BlockPool(2)
    (block,) = take(pool, 1)
    pool.commit(block, name(1))
    pool.release([block])
    assert pool.find(name(1)) is block
    take(pool, 1)  # a never used block is allocated first
    assert pool.find(name(1)) is block
    take(pool, 1)
    assert pool.find(name(1)) is None
    assert pool.num_cached == 0


def test_the_least_recently_used_cached_block_is_evicted_first() -> None:
    pool = BlockPool(3)
    blocks = take(pool, 3)
    for number, block in enumerate(blocks):
        pool.commit(block, name(number))
    pool.release(blocks)
    pool.hold([blocks[0]])
    pool.release([blocks[0]])  # used again, so now the most recent
    assert take(pool, 3) == [blocks[1], blocks[2], blocks[0]]


def test_a_shared_block_is_free_only_when_all_release_it() -> None:
    pool = BlockPool(1)
    blocks = take(pool, 1)
    pool.commit(blocks[0], name(1))
    pool.hold(blocks)
    pool.release(blocks)
    assert pool.allocate(1) is None
    pool.release(blocks)
    assert pool.num_free == 1


def test_the_second_block_with_the_same_content_is_not_cached() -> None:
    pool = BlockPool(2)
    first, second = take(pool, 2)
    pool.commit(first, name(1))
    pool.commit(second, name(1))
    assert pool.find(name(1)) is first
    assert second.block_hash is None


def test_misuse_raises() -> None:
    pool = BlockPool(1)
    (block,) = take(pool, 1)
    with pytest.raises(ValueError, match="not cached and cannot be shared"):
        pool.hold([block])
    pool.commit(block, name(1))
    with pytest.raises(ValueError, match="committed before"):
        pool.commit(block, name(2))
    pool.release([block])
    with pytest.raises(ValueError, match="has no holder"):
        pool.release([block])
    with pytest.raises(ValueError, match="at least one block"):
        BlockPool(0)


def test_the_integrity_check_finds_a_lost_reference() -> None:
    pool = BlockPool(2)
    (block,) = take(pool, 1)
    pool.check_integrity({block.block_id: 1})
    with pytest.raises(AssertionError, match="held by 2"):
        pool.check_integrity({block.block_id: 2})


class BlockPoolMachine(RuleBasedStateMachine):
    """Blocks are allocated, shared, hashed and released, and compared with a simple model."""

    @initialize(num_blocks=st.integers(1, 8))
    def start(self, num_blocks: int) -> None:
        self.pool = BlockPool(num_blocks)
        self.holders: list[list[Block]] = []
        self.unnamed = list(range(num_blocks))
        """Free block ids with no content to find; any order among them will do."""
        self.recent: list[int] = []
        """Free cached block ids, least recently used first."""
        self.names: dict[int, BlockHash] = {}

    @rule(count=st.integers(0, 5))
    def allocate(self, count: int) -> None:
        num_free = len(self.unnamed) + len(self.recent)
        blocks = self.pool.allocate(count)
        if count > num_free:
            assert blocks is None
            return
        assert blocks is not None
        assert len(blocks) == count
        for block in blocks:
            if self.unnamed:
                self.unnamed.remove(block.block_id)
            else:
                assert block.block_id == self.recent.pop(0)
                del self.names[block.block_id]
        self.holders.append(blocks)

    @rule(number=st.integers(0, 5))
    def share(self, number: int) -> None:
        block = self.pool.find(name(number))
        known = [block_id for block_id, known in self.names.items() if known == name(number)]
        assert known == ([] if block is None else [block.block_id])
        if block is None:
            return
        self.pool.hold([block])
        if block.block_id in self.recent:
            self.recent.remove(block.block_id)
        self.holders.append([block])

    @precondition(lambda self: self.holders)
    @rule(data=st.data(), number=st.integers(0, 5))
    def commit(self, data: st.DataObject, number: int) -> None:
        for block in data.draw(st.sampled_from(self.holders)):
            if block.block_hash is not None:
                continue
            is_new = name(number) not in self.names.values()
            self.pool.commit(block, name(number))
            assert (block.block_hash == name(number)) == is_new
            if is_new:
                self.names[block.block_id] = name(number)

    @rule()
    def forget_cached(self) -> None:
        self.pool.forget_cached()
        self.names.clear()
        self.unnamed += self.recent
        self.recent = []

    @precondition(lambda self: self.holders)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.holders) - 1))
        blocks = self.holders.pop(index)
        self.pool.release(reversed(blocks))
        still_held = {block.block_id for holder in self.holders for block in holder}
        for block in reversed(blocks):
            if block.block_id in still_held:
                continue
            (self.recent if block.block_id in self.names else self.unnamed).append(block.block_id)

    @invariant()
    def counts_add_up(self) -> None:
        if not hasattr(self, "pool"):
            return
        num_holders: dict[int, int] = {}
        for holder in self.holders:
            for block in holder:
                num_holders[block.block_id] = num_holders.get(block.block_id, 0) + 1
        self.pool.check_integrity(num_holders)
        assert self.pool.num_free == len(self.unnamed) + len(self.recent)
        assert self.pool.num_used == len(num_holders)
        assert self.pool.num_free + self.pool.num_used == self.pool.num_blocks
        assert self.pool.num_cached == len(self.names)


TestBlockPoolMachine = BlockPoolMachine.TestCase
TestBlockPoolMachine.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
