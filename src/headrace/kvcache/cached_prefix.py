"""What the prefix cache has of a request that waits. Knows no pool."""

from dataclasses import dataclass

from headrace.kvcache.block import Block
from headrace.kvcache.block_hash import BlockHash


@dataclass(frozen=True, slots=True)
class CachedPrefix:
    """The longest cached beginning. Holds nothing: true only until the pool next changes."""

    blocks: list[Block]
    num_tokens: int
    next_hash: BlockHash | None
    """Of the first full block that is missing, if it could be used once somebody computes it."""
