"""Which replica of a target gets a request: the least loaded one, with prefix affinity.

A prompt is a chain of hashes, one for each of its prefixes that ends at a block's edge. Each hash
maps to the replica that last served a prompt with that prefix, so the longest known prefix names
the replica that most likely has its keys and values cached. That replica is preferred while its
load exceeds the lowest one by little (SGLang's cache-aware router, vLLM's production stack; the
chain is the block hash chain of vLLM's prefix cache, over bytes in place of tokens). The least
recently used prefixes are evicted. Two prompts may share a hash by accident: affinity is a
preference, so that costs time and nothing else. Pure.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

AFFINITY_SLACK = 4
"""By how many requests the load of the replica with the cached prefix may exceed the lowest one:
about as many as cost less in a shared batch than computing a long prompt again."""
AFFINITY_SLACK_SHARE = 0.5
"""Or by this share of the lowest load, so that the preference scales with it."""

BLOCK_BYTES = 256
NUM_BLOCKS_PER_SIZE = 16
"""After this many blocks the block size doubles: long prompts need no finer steps."""
NUM_SIZES = 6
MAX_NUM_PREFIXES = 32_768
"""Per target; about 6 MiB when full."""


class Loaded(Protocol):
    """What load is balanced over."""

    num_outstanding: int


LoadedT = TypeVar("LoadedT", bound=Loaded)
ReplicaT = TypeVar("ReplicaT")


def pick(usable: Sequence[LoadedT], cache_hit: LoadedT | None, turn: int) -> LoadedT:
    """One of ``usable``, which is not empty. ``cache_hit``: the replica with the longest cached
    prefix; ``turn`` breaks ties."""
    num_usable = len(usable)
    best = usable[turn % num_usable]
    fewest = best.num_outstanding
    for offset in range(1, num_usable):
        replica = usable[(turn + offset) % num_usable]
        if replica.num_outstanding < fewest:
            best = replica
            fewest = replica.num_outstanding
    if cache_hit is None or cache_hit is best:
        return best
    slack = max(AFFINITY_SLACK, fewest * AFFINITY_SLACK_SHARE)
    return cache_hit if cache_hit.num_outstanding - fewest <= slack else best


def _edges() -> tuple[int, ...]:
    edges = []
    end = 0
    for doubling in range(NUM_SIZES):
        for _ in range(NUM_BLOCKS_PER_SIZE):
            end += BLOCK_BYTES << doubling
            edges.append(end)
    return tuple(edges)


BLOCK_EDGES = _edges()
"""Where blocks end, in bytes; what follows the last edge (252 KiB) is not hashed."""


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


class PrefixAffinity(Generic[ReplicaT]):
    """The prefixes that one target's replicas have served; an LRU cache."""

    __slots__ = ("_served_by",)

    def __init__(self) -> None:
        self._served_by: OrderedDict[int, ReplicaT] = OrderedDict()

    def __len__(self) -> int:
        return len(self._served_by)

    def find(self, hashes: tuple[int, ...]) -> ReplicaT | None:
        """The replica that served the longest of these prefixes; it may be ejected or gone."""
        served_by = self._served_by
        for prefix in reversed(hashes):
            replica = served_by.get(prefix)
            if replica is not None:
                return replica
        return None

    def record(self, hashes: tuple[int, ...], replica: ReplicaT) -> None:
        """This replica is about to serve a prompt with these prefixes."""
        served_by = self._served_by
        for prefix in hashes:
            served_by[prefix] = replica
            served_by.move_to_end(prefix)
        while len(served_by) > MAX_NUM_PREFIXES:
            served_by.popitem(last=False)
