"""Adapters' low-rank updates as models.simd.adapters.low_rank reads them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from headrace.models.ops.base import AdapterRows, LowRank, LowRankPart
from headrace.models.ops.tiles import tiles_of
from headrace.models.simd.adapters.low_rank import CHUNK_ROWS, SLOT_FIELDS
from headrace.models.simd.matmul import COLUMNS

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PackedLowRank(LowRank):
    """What one adapter adds to one weight. R: the ranks of all parts, one after the other."""

    a: Tensor
    """Tiles of [R, K]."""
    b: Tensor
    """Tiles of [N, R]."""
    ranges: Int64
    """[blocks of b, 2] the first k and the end of those that are not zero in b."""

    @property
    def num_bytes(self) -> int:
        return self.a.nbytes + self.b.nbytes + self.ranges.nbytes

    @property
    def fields(self) -> list[int]:
        """A row of the kernel's slots."""
        return [
            self.a.data_ptr(),
            self.a.shape[0],
            self.b.data_ptr(),
            self.b.shape[1],
            self.ranges.ctypes.data,
        ]


class LowRankTable:
    """What the adapters of all slots add to one weight. Not to be changed during a step."""

    def __init__(self) -> None:
        self._slots: Int64 = np.zeros((0, SLOT_FIELDS), np.int64)
        self._placed: dict[int, PackedLowRank] = {}
        self.address: int = self._slots.ctypes.data

    def __bool__(self) -> bool:
        return bool(self._placed)

    def reserve(self, num_slots: int) -> None:
        """Have rows for this number of slots, of adapters that add nothing."""
        if num_slots > len(self._slots):
            grown = np.zeros((num_slots, SLOT_FIELDS), np.int64)
            grown[: len(self._slots)] = self._slots
            self._slots, self.address = grown, grown.ctypes.data

    def place(self, slot: int, low_rank: PackedLowRank | None) -> None:
        """None: the adapter of this slot adds nothing."""
        self.reserve(slot + 1)
        self._placed.pop(slot, None)
        self._slots[slot] = 0
        if low_rank is not None:
            self._placed[slot] = low_rank
            self._slots[slot] = low_rank.fields


class Chunks:
    """The rows with adapters of one step, in pieces of up to CHUNK_ROWS."""

    def __init__(self, fields: Int64) -> None:
        """fields: [chunks, CHUNK_FIELDS]."""
        self._fields = fields
        self.address: int = fields.ctypes.data
        self.end_slot = int(fields[:, 0].max()) + 1
        self._end_row = int((fields[:, 1] + fields[:, 2]).max())

    def num_within(self, num_rows: int) -> int:
        """The number of chunks; raises ValueError if one has rows beyond these."""
        if self._end_row > num_rows:
            raise ValueError(f"adapters have rows up to {self._end_row}, of {num_rows}")
        return len(self._fields)


def chunks_of(adapters: Sequence[AdapterRows]) -> Chunks:
    """At least one adapter's rows, cut into chunks."""
    return Chunks(
        np.array(
            [
                (rows.slot, first, min(CHUNK_ROWS, rows.end - first))
                for rows in adapters
                for first in range(rows.start, rows.end, CHUNK_ROWS)
            ],
            np.int64,
        )
    )


def pack_low_rank(
    parts: Sequence[LowRankPart],
    num_rows: int,
    dtype: torch.dtype,
    reorder: Callable[[Tensor], Tensor] = lambda b: b,
) -> PackedLowRank:
    """Pack what an adapter adds to a weight of this number of rows.

    reorder: of the rows of b, [num_rows, R], as the weight itself is stored.
    """
    group = 4 // dtype.itemsize
    ranks = [part.a.shape[0] + -part.a.shape[0] % group for part in parts]
    a = torch.zeros(sum(ranks), parts[0].a.shape[1], dtype=dtype)
    b = torch.zeros(num_rows, sum(ranks), dtype=dtype)
    is_set = torch.zeros(num_rows, sum(ranks), dtype=torch.uint8)
    first = 0
    for part, padded in zip(parts, ranks, strict=True):
        rank, rows = part.a.shape[0], slice(part.first_row, part.first_row + len(part.b))
        a[first : first + rank] = part.a
        b[rows, first : first + rank] = part.b
        is_set[rows, first : first + padded] = 1
        first += padded
    return PackedLowRank(tiles_of(a), tiles_of(reorder(b)), _ranges(reorder(is_set), group))


def _ranges(is_set: Tensor, group: int) -> Int64:
    """[blocks, 2] the first and the end of the groups of columns that are set in a block's rows."""
    num_rows, rank = is_set.shape
    padded = torch.nn.functional.pad(is_set, (0, 0, 0, -num_rows % COLUMNS))
    used = padded.view(-1, COLUMNS, rank // group, group).amax((1, 3))  # [blocks, rank / group]
    ends = used.shape[1] - used.flip(1).argmax(1)
    ends[used.amax(1) == 0] = 0
    return torch.stack([used.argmax(1), ends], 1).numpy().astype(np.int64)
