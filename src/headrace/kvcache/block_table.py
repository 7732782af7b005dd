"""The blocks that one request holds, in the order of its tokens."""

import sys

from headrace.kvcache.block_hash import BlockHashChain
from headrace.kvcache.block_pool import Block

NULL_BLOCK_ID = -1
"""In place of the id of a block that no layer reads."""


class BlockTable:
    """Block i holds positions [i * block_size, (i + 1) * block_size). The manager changes it.

    With a sliding window, blocks before it are not held.
    """

    __slots__ = (
        "block_ids",
        "block_size",
        "blocks",
        "chain",
        "first_held",
        "num_committed",
        "num_sent_blocks",
        "num_slots",
    )

    def __init__(self, block_size: int, chain: BlockHashChain) -> None:
        self.block_size = block_size
        self.chain = chain
        self.first_held = 0
        """Blocks [0, first_held) are not held; always 0 without a sliding window."""
        self.blocks: list[Block] = []
        """The held blocks, first_held and those after it."""
        self.block_ids: list[int] = []
        """The ids of all blocks; NULL_BLOCK_ID of those that are not held."""
        self.num_slots = 0
        """Positions in all blocks."""
        self.num_sent_blocks = 0
        """The runner has, or gets with the next step, block_ids[0:num_sent_blocks)."""
        self.num_committed = 0
        """Blocks [0, num_committed) are full and computed, and were offered to the prefix cache.
        After ``stop_caching``, more than there can be."""

    def append(self, blocks: list[Block]) -> None:
        self.blocks.extend(blocks)
        self.block_ids.extend([block.block_id for block in blocks])
        self.num_slots = len(self.block_ids) * self.block_size

    def skip(self, count: int) -> None:
        """Begin an empty table with blocks that are not held."""
        self.first_held = count
        self.block_ids = [NULL_BLOCK_ID] * count

    def drop_before(self, index: int) -> list[Block]:
        """Hold only block ``index`` and those after it; returns the others that were held."""
        count = index - self.first_held
        if count <= 0:
            return []
        dropped = self.blocks[:count]
        del self.blocks[:count]
        self.block_ids[self.first_held : index] = [NULL_BLOCK_ID] * count
        self.first_held = index
        return dropped

    def stop_caching(self) -> None:
        """Offer no further block of this table to the prefix cache."""
        self.num_committed = sys.maxsize
