"""Which replica last served a prompt that begins like this one.

A prompt is a chain of hashes, one for each of its beginnings that ends at a block's edge; each
hash maps to the replica that last served a prompt with that beginning, and the longest known
beginning wins. It is the block-hash chain of vLLM's prefix cache, over bytes in place of tokens.
The least recently used beginnings are forgotten. Two prompts may share a hash by accident: the
answer is a preference, so that costs time and nothing else. Knows no load and no JSON.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.gateway.routing.replica import Replica

BLOCK_BYTES = 256
NUM_BLOCKS_PER_SIZE = 16
"""After so many blocks the next are twice as long: long prompts need no finer steps."""
NUM_SIZES = 6
MAX_NUM_BEGINNINGS = 32_768
"""Per target; about 6 MiB when full."""


def _edges() -> tuple[int, ...]:
    edges = []
    end = 0
    for doubling in range(NUM_SIZES):
        for _ in range(NUM_BLOCKS_PER_SIZE):
            end += BLOCK_BYTES << doubling
            edges.append(end)
    return tuple(edges)


BLOCK_EDGES = _edges()
"""Where blocks end, in bytes; beyond the last (252 KiB) nothing is looked at."""


def prefix_hashes(prompt: memoryview) -> tuple[int, ...]:
    """One hash for each whole block, over everything up to its end; the longest comes last."""
    length = len(prompt)
    hashes = []
    begin = 0
    crc = 0
    for end in BLOCK_EDGES:
        if end > length:
            break
        crc = zlib.crc32(prompt[begin:end], crc)
        hashes.append(crc)
        begin = end
    return tuple(hashes)


class PrefixAffinity:
    """The beginnings that one target's replicas have served."""

    __slots__ = ("_served_by",)

    def __init__(self) -> None:
        self._served_by: OrderedDict[int, Replica] = OrderedDict()

    def __len__(self) -> int:
        return len(self._served_by)

    def find(self, hashes: tuple[int, ...]) -> Replica | None:
        """Who served the longest of these beginnings; it may have left since, or be ejected."""
        served_by = self._served_by
        for prefix in reversed(hashes):
            replica = served_by.get(prefix)
            if replica is not None:
                return replica
        return None

    def record(self, hashes: tuple[int, ...], replica: Replica) -> None:
        """It is about to serve a prompt with these beginnings."""
        served_by = self._served_by
        for prefix in hashes:
            served_by[prefix] = replica
            served_by.move_to_end(prefix)
        while len(served_by) > MAX_NUM_BEGINNINGS:
            served_by.popitem(last=False)
