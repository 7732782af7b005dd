"""One block of the paged cache: who holds it and what it holds. Knows no pool."""

from dataclasses import dataclass

from headrace.kvcache.block_hash import BlockHash


@dataclass(slots=True, eq=False)
class Block:
    """Room for ``block_size`` positions of one sequence. Only the block pool changes it."""

    block_id: int
    ref_count: int = 0
    """Requests that hold it; at 0 it is free, even if its content can still be found."""
    block_hash: BlockHash | None = None
    """Names its content once that is full, computed and findable by others."""
