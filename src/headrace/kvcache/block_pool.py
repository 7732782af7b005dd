"""Allocates blocks, counts references to them, and finds computed ones by content hash."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from headrace.kvcache.block_hash import BlockHash


@dataclass(slots=True, eq=False)
class Block:
    """Room for ``block_size`` positions of one sequence. Only the block pool changes it."""

    block_id: int
    ref_count: int = 0
    """Requests that hold it. At 0 it is free, but may still be in the prefix cache."""
    block_hash: BlockHash | None = None
    """Hash of its content, once it is full, computed and in the prefix cache."""


class BlockPool:
    """All blocks of the cache. Every operation costs O(1) for each block it names.

    Blocks without a holder are free and are allocated in this order: first those that are not
    cached, then cached ones, least recently used first. A cached block can be found and held again
    until it is allocated.
    """

    def __init__(self, num_blocks: int) -> None:
        if num_blocks < 1:
            raise ValueError(f"a pool needs at least one block, got {num_blocks}")
        self._blocks = [Block(block_id) for block_id in range(num_blocks)]
        self._free = OrderedDict((block.block_id, block) for block in self._blocks)
        self._cached: dict[BlockHash, Block] = {}

    @property
    def num_blocks(self) -> int:
        return len(self._blocks)

    @property
    def num_free(self) -> int:
        return len(self._free)

    @property
    def num_used(self) -> int:
        return len(self._blocks) - len(self._free)

    @property
    def num_cached(self) -> int:
        """Blocks in the prefix cache, held or free."""
        return len(self._cached)

    def find(self, block_hash: BlockHash) -> Block | None:
        """The cached block with this content."""
        return self._cached.get(block_hash)

    def allocate(self, count: int) -> list[Block] | None:
        """Take ``count`` free blocks and evict their cached content; None if there are too few."""
        if count > len(self._free):
            return None
        blocks = []
        for _ in range(count):
            _, block = self._free.popitem(last=False)
            if block.block_hash is not None:
                del self._cached[block.block_hash]
                block.block_hash = None
            block.ref_count = 1
            blocks.append(block)
        return blocks

    def hold(self, blocks: Iterable[Block]) -> None:
        """Add one holder to each of these cached blocks."""
        for block in blocks:
            if block.block_hash is None:
                raise ValueError(f"block {block.block_id} is not cached and cannot be shared")
            if block.ref_count == 0:
                del self._free[block.block_id]
            block.ref_count += 1

    def release(self, blocks: Iterable[Block]) -> None:
        """Remove one holder from each. Of those that become free, the first is evicted first."""
        for block in blocks:
            if block.ref_count == 0:
                raise ValueError(f"block {block.block_id} is released, but has no holder")
            block.ref_count -= 1
            if block.ref_count:
                continue
            self._free[block.block_id] = block
            if (
                block.block_hash is None
            ):  # without cached content, so it is reused before all cached ones
                self._free.move_to_end(block.block_id, last=False)

    def commit(self, block: Block, block_hash: BlockHash) -> None:
        """Add a held block to the prefix cache, now that it is full and computed.

        Does nothing if another block has the same content already.
        """
        if block.ref_count == 0 or block.block_hash is not None:
            raise ValueError(f"block {block.block_id} is free or has been committed before")
        if block_hash not in self._cached:
            self._cached[block_hash] = block
            block.block_hash = block_hash

    def forget_cached(self) -> None:
        """Empty the prefix cache. Held blocks stay held, and are released without content."""
        for block in self._cached.values():
            block.block_hash = None
        self._cached.clear()

    def check_integrity(self, num_holders: Mapping[int, int]) -> None:
        """Raise AssertionError if counts, free list and cache contradict each other.

        num_holders: by block id, the number of requests that hold it; 0 if absent.
        """
        for block in self._blocks:
            if block.ref_count != num_holders.get(block.block_id, 0):
                raise AssertionError(f"{block} is held by {num_holders.get(block.block_id, 0)}")
            if (block.ref_count == 0) != (block.block_id in self._free):
                raise AssertionError(f"{block} is both free and held, or neither")
            if block.block_hash is not None and self._cached.get(block.block_hash) is not block:
                raise AssertionError(f"{block} has a hash under which it is not found")
        for block_hash, block in self._cached.items():
            if block.block_hash != block_hash:
                raise AssertionError(f"{block} is found under another hash, {block_hash.hex()}")
