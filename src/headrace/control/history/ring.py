"""Writes samples into blocks of the store, and removes those that are too old or too many."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from headrace.control.history.block import COARSE, FINE, Block, Resolution, decode_block
from headrace.control.history.revision_sample import RevisionSample
from headrace.control.resources import RevisionKey
from headrace.control.store.history_queries import StoredBlock
from headrace.control.store.store import Store
from headrace.control.store.writes import Transaction

MAX_NUM_BLOCKS = 250_000
"""Of all revisions together. A block has at most 1.4 KB."""
_RETENTION_S = 300
"""Between two passes of retention."""
_MAX_NUM_TIMES = 20
"""Times of blocks that one pass of retention removes, so that other writers do not wait long."""


@dataclass(frozen=True, slots=True)
class TimedSample:
    """A sample and its place."""

    key: RevisionKey
    resolution: Resolution
    at_s: int
    """Unix time at which its step begins."""
    sample: RevisionSample


@dataclass(frozen=True, slots=True)
class _Place:
    """A ring of a revision."""

    key: RevisionKey
    step_s: int


class Ring:
    """The blocks that are being filled are held in memory: a write reads nothing."""

    def __init__(self, store: Store, max_num_blocks: int = MAX_NUM_BLOCKS) -> None:
        self._store = store
        self._max_num_blocks = max_num_blocks
        self._blocks: dict[_Place, Block] = {}
        self._retained_at: int | None = None

    def write(
        self,
        samples: Sequence[TimedSample],
        created_at: Mapping[RevisionKey, datetime],
        now: datetime,
    ) -> None:
        """Put each sample in its place, in one transaction; at most one of each ring.

        Samples of revisions that are not in the store, or were created at other times, are left
        out. Raises StoreError; then the next write of the same blocks has these samples too.
        """
        self._load(samples)
        encoded = [
            StoredBlock(place.key, place.step_s, block.begins_at, block.encode())
            for place, block in self._put(samples).items()
        ]
        is_due = self._is_retention_due(now)
        with self._store.begin() as tx:
            known = tx.history.created_at({one.key for one in encoded})
            tx.save_history([one for one in encoded if known.get(one.key) == created_at[one.key]])
            if is_due:
                self._retain(tx, now)

    def drop(self, key: RevisionKey) -> None:
        """The revision no longer exists."""
        for resolution in (FINE, COARSE):
            self._blocks.pop(_Place(key, resolution.step_s), None)

    def _load(self, samples: Sequence[TimedSample]) -> None:
        """Read the blocks that begin anew, or were begun before a restart."""
        missing = [one for one in samples if self._held(one) is None]
        times = {(one.resolution, one.resolution.block_begin(one.at_s)) for one in missing}
        if not times:
            return
        stored: dict[_Place, Block] = {}
        with self._store.read() as queries:
            for resolution, begins_at in times:
                for row in queries.history.blocks_at(resolution.step_s, begins_at):
                    block = decode_block(resolution, begins_at, row.samples)
                    stored[_Place(row.key, row.step_s)] = block
        for one in missing:
            place = _Place(one.key, one.resolution.step_s)
            begins_at = one.resolution.block_begin(one.at_s)
            self._blocks[place] = stored.get(place) or Block(one.resolution, begins_at)

    def _held(self, one: TimedSample) -> Block | None:
        block = self._blocks.get(_Place(one.key, one.resolution.step_s))
        is_it = block is not None and block.begins_at == one.resolution.block_begin(one.at_s)
        return block if is_it else None

    def _put(self, samples: Sequence[TimedSample]) -> Mapping[_Place, Block]:
        changed = {}
        for one in samples:
            place = _Place(one.key, one.resolution.step_s)
            self._blocks[place].put(one.at_s, one.sample)
            changed[place] = self._blocks[place]
        return changed

    def _is_retention_due(self, now: datetime) -> bool:
        step = int(now.timestamp()) // _RETENTION_S
        is_due = step != self._retained_at
        self._retained_at = step
        return is_due

    def _retain(self, tx: Transaction, now: datetime) -> None:
        for resolution in (FINE, COARSE):
            limit = int(now.timestamp()) - resolution.age_s - resolution.block_s
            for time in tx.history.oldest_times(resolution.step_s, _MAX_NUM_TIMES, limit):
                tx.remove_history(time)
        num_spare = tx.history.num_blocks() - self._max_num_blocks
        if num_spare <= 0:
            return
        oldest = [
            time
            for resolution in (FINE, COARSE)
            for time in tx.history.oldest_times(resolution.step_s, _MAX_NUM_TIMES)
        ]
        for time in sorted(oldest, key=lambda time: time.begins_at)[:_MAX_NUM_TIMES]:
            if num_spare > 0:
                num_spare -= tx.remove_history(time)
