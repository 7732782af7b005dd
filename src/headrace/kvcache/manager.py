"""Allocates blocks to requests, shares computed prefixes between them, and frees the blocks.

Block tables are those of PagedAttention (Kwon et al., 2023, arXiv:2309.06180).
"""

from collections import Counter
from dataclasses import dataclass

from headrace.core.generation.request import Request
from headrace.kvcache.block_hash import BlockHash, BlockHashChain
from headrace.kvcache.block_pool import Block, BlockPool
from headrace.kvcache.block_table import NULL_BLOCK_ID, BlockTable
from headrace.kvcache.sliding_window import SlidingWindow, num_request_blocks


@dataclass(frozen=True, slots=True)
class CachedPrefix:
    """The longest cached beginning of a request. It holds no blocks: it is valid until the pool
    next changes."""

    blocks: list[Block]
    """Its last ones only, with a sliding window: those that the next position sees."""
    num_tokens: int
    next_hash: BlockHash | None
    """Of the first full block that is missing, if it can be used once another request computes
    it."""


class KVCacheManager:
    """The calls for a request, in order: ``find_cached``, ``can_admit``, ``admit``; ``extend`` and
    ``commit`` when it crosses the end of a block; ``free`` (preempted) or ``remove`` (finished)."""

    def __init__(
        self,
        *,
        num_blocks: int,
        block_size: int,
        enable_prefix_caching: bool = True,
        window: SlidingWindow | None = None,
    ) -> None:
        """window: of all layers; the blocks before it are freed while a request runs. None where a
        layer sees the whole context."""
        if block_size < 1:
            raise ValueError(f"block_size must be at least 1, got {block_size}")
        self._pool = BlockPool(num_blocks)
        self._window = window
        self._tables: dict[Request, BlockTable] = {}
        """Block tables of the requests that hold blocks."""
        self._chains: dict[Request, BlockHashChain] = {}
        """Hashes of every request that is not removed; they outlive a preemption."""
        self.block_size = block_size
        self.enable_prefix_caching = enable_prefix_caching
        self.num_queried_tokens = 0
        """Tokens of requests, each counted when it is admitted for the first time; without requests
        that want log-probabilities of their prompts, which do not read the cache."""
        self.num_hit_tokens = 0
        """Of those, tokens found in the prefix cache."""

    @property
    def num_blocks(self) -> int:
        return self._pool.num_blocks

    @property
    def num_free_blocks(self) -> int:
        """Blocks without a holder, cached ones included."""
        return self._pool.num_free

    @property
    def num_used_blocks(self) -> int:
        return self._pool.num_used

    @property
    def num_known_requests(self) -> int:
        """Requests with state here; 0 when all were removed."""
        return len(self._chains)

    def num_blocks_for(self, num_tokens: int) -> int:
        """Blocks that one request of this length needs at once."""
        return num_request_blocks(num_tokens, self.block_size, self._window)

    def find_cached(self, request: Request) -> CachedPrefix:
        """The longest cached beginning of a request, within its ``num_reusable_tokens``.

        Empty for a request that skips the cache.
        """
        if not self.enable_prefix_caching or request.skips_cached_prefix:
            return CachedPrefix([], 0, None)
        if self._window is not None:
            return self._find_cached_window(request, self._window)
        chain = self._chain(request)
        token_ids = request.token_ids
        blocks = []
        missing = None
        for index in range(request.num_reusable_tokens // self.block_size):
            block_hash = chain.hash_at(token_ids, index)
            block = self._pool.find(block_hash)
            if block is None:
                missing = block_hash
                break
            blocks.append(block)
        return CachedPrefix(blocks, len(blocks) * self.block_size, missing)

    def can_admit(self, request: Request, prefix: CachedPrefix, num_spare_blocks: int = 0) -> bool:
        """Whether all known tokens fit and ``num_spare_blocks`` stay free."""
        num_taken = self._num_blocks(request.num_tokens) - prefix.num_tokens // self.block_size
        num_taken += sum(block.ref_count == 0 for block in prefix.blocks)
        if self._window is not None:
            num_taken = min(num_taken, self._window.max_blocks(self.block_size))
        return num_taken + num_spare_blocks <= self._pool.num_free

    def admit(self, request: Request, prefix: CachedPrefix, num_new_tokens: int) -> BlockTable:
        """Give a request its cached blocks and blocks for the tokens computed next.

        Call it only after ``can_admit`` returned true, with nothing changed since ``find_cached``.
        """
        if request in self._tables:
            raise ValueError(f"request {request.request_id!r} holds blocks already")
        table = BlockTable(self.block_size, self._chain(request))
        self._pool.hold(prefix.blocks)
        num_cached = prefix.num_tokens // self.block_size
        table.skip(num_cached - len(prefix.blocks))
        table.append(prefix.blocks)
        table.num_committed = num_cached
        if not self.extend(table, prefix.num_tokens + num_new_tokens):
            self._pool.release(reversed(table.blocks))
            raise ValueError(f"no room for request {request.request_id!r}; ask can_admit first")
        self._tables[request] = table
        reads_cache = self.enable_prefix_caching and not request.lacks_prompt_logprobs
        if reads_cache and request.num_preemptions == 0:
            self.num_queried_tokens += request.num_tokens
            self.num_hit_tokens += prefix.num_tokens
        return table

    def extend(self, table: BlockTable, num_tokens: int) -> bool:
        """Extend a table to ``num_tokens`` in total.

        Returns False, with nothing changed, if there are too few free blocks.
        """
        num_new_blocks = max(0, self._num_blocks(num_tokens) - len(table.block_ids))
        blocks = self._pool.allocate(num_new_blocks)
        if blocks is None:
            return False
        table.append(blocks)
        return True

    def hashes_within(
        self, request: Request, table: BlockTable, start: int, end: int
    ) -> list[BlockHash]:
        """The hashes of the blocks that become full by computing positions [start, end)."""
        if not self.enable_prefix_caching:
            return []
        return table.chain.hashes(
            request.token_ids, start // self.block_size, end // self.block_size
        )

    def commit(self, request: Request, table: BlockTable, num_computed_tokens: int) -> None:
        """Add the full blocks of [0, num_computed_tokens), all computed, to the prefix cache, and
        free those that no position from ``num_computed_tokens`` on sees."""
        if self.enable_prefix_caching:
            first, end = table.num_committed, num_computed_tokens // self.block_size
            if end > first:
                hashes = table.chain.hashes(request.token_ids, first, end)
                blocks = table.blocks[first - table.first_held : end - table.first_held]
                for block, block_hash in zip(blocks, hashes, strict=True):
                    self._pool.commit(block, block_hash)
                table.num_committed = end
        if self._window is not None:
            seen = self._window.first_block(num_computed_tokens, self.block_size)
            self._pool.release(table.drop_before(seen))

    def free(self, request: Request) -> None:
        """Free a request's blocks, if it has any. Later blocks are evicted before earlier ones."""
        table = self._tables.pop(request, None)
        if table is not None:
            self._pool.release(reversed(table.blocks))

    def remove(self, request: Request) -> None:
        """Free the blocks of a finished request and drop its hashes."""
        self.free(request)
        self._chains.pop(request, None)

    def reset_prefix_cache(self) -> None:
        """Forget all cached content. Requests keep their blocks, and what they compute later is not
        cached either: it depends on what is forgotten."""
        self._pool.forget_cached()
        for table in self._tables.values():
            table.stop_caching()

    def check_integrity(self) -> None:
        """Raise AssertionError if the pool is inconsistent with itself or with the tables."""
        num_holders: Counter[int] = Counter()
        for request, table in self._tables.items():
            block_ids = [block.block_id for block in table.blocks]
            if [NULL_BLOCK_ID] * table.first_held + block_ids != table.block_ids:
                raise AssertionError(f"{request.request_id!r} has ids that are not its blocks'")
            if len(set(block_ids)) != len(block_ids):
                raise AssertionError(f"{request.request_id!r} holds a block twice")
            for block in table.blocks[max(0, table.num_committed - table.first_held) :]:
                if block.ref_count != 1 or block.block_hash is not None:
                    raise AssertionError(f"{block} is shared before it is computed")
            num_holders.update(block_ids)
        self._pool.check_integrity(num_holders)

    def _chain(self, request: Request) -> BlockHashChain:
        chain = self._chains.get(request)
        if chain is None:
            chain = self._chains[request] = BlockHashChain(
                self.block_size, request.cache_salt, request.adapter_id
            )
        return chain

    def _find_cached_window(self, request: Request, window: SlidingWindow) -> CachedPrefix:
        """The longest beginning of which the last blocks, those that its next position sees, are
        cached. They are searched from the end, as in vLLM's sliding window manager."""
        num_reusable = request.num_reusable_tokens // self.block_size
        hashes = self._chain(request).hashes(request.token_ids, 0, num_reusable)
        num_wanted = window.num_prefix_blocks(self.block_size)
        blocks: list[Block] = []
        end = index = num_reusable
        while index > 0 and len(blocks) < num_wanted:
            index -= 1
            block = self._pool.find(hashes[index])
            if block is None:
                blocks.clear()
                end = index
            else:
                blocks.append(block)
        blocks.reverse()
        missing = hashes[end] if end < num_reusable else None
        return CachedPrefix(blocks, end * self.block_size, missing)

    def _num_blocks(self, num_tokens: int) -> int:
        return -(-num_tokens // self.block_size)
