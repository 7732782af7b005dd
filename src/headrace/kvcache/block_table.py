"""The blocks that one request holds, in the order of its tokens."""

import sys

from headrace.kvcache.block_hash import BlockHashChain
from headrace.kvcache.block_pool import Block


class BlockTable:
    """Block i holds positions [i * block_size, (i + 1) * block_size). The manager changes it."""

    __slots__ = (
        "block_ids",
        "block_size",
        "blocks",
        "chain",
        "num_committed",
        "num_sent_blocks",
        "num_slots",
    )

    def __init__(self, block_size: int, chain: BlockHashChain) -> None:
        self.block_size = block_size
        self.chain = chain
        self.blocks: list[Block] = []
        self.block_ids: list[int] = []
        """The ids of ``blocks``."""
        self.num_slots = 0
        """Positions in the blocks."""
        self.num_sent_blocks = 0
        """The runner has, or gets with the next step, block_ids[0:num_sent_blocks)."""
        self.num_committed = 0
        """blocks[0:num_committed) are full and computed, and were offered to the prefix cache.
        After ``stop_caching``, more than there can be."""

    def append(self, blocks: list[Block]) -> None:
        self.blocks.extend(blocks)
        self.block_ids.extend([block.block_id for block in blocks])
        self.num_slots = len(self.blocks) * self.block_size

    def stop_caching(self) -> None:
        """Offer no further block of this table to the prefix cache."""
        self.num_committed = sys.maxsize
