"""Which target a request goes to: by weight, exactly; or by its sticky key, always the same.

Requests without a key follow a sequence in which, at every point, each target has had its share of
the requests so far to within less than one. (Plain smooth weighted round robin promises that only
in one direction.) The sequence is the uniprocessor case of proportionate fairness: target ``i`` is
eligible for request ``n`` while its count is below ``n * w / W``, and among the eligible the one
whose next request would first be overdue comes first (S. Baruah, N. Cohen, C. Plaxton, D. Varvel,
"Proportionate progress", Algorithmica 1996; the bound is R. Tijdeman's, "The chairman assignment
problem", 1980). It repeats after ``W / gcd`` requests, so it is written out once.

Requests with a key go to the target with the highest weighted rendezvous score (D. Thaler,
C. Ravishankar 1998; weighted as in C. Schindelhauer, G. Schomaker 2005): a key moves from target
``a`` to ``b`` only if the weight of ``b`` grew in proportion to that of ``a``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

_MASK_64 = (1 << 64) - 1


class Weighted(Protocol):
    """What traffic is split over."""

    weight: int
    """Above zero."""
    seed: int
    """Of its rendezvous scores."""


WeightedT = TypeVar("WeightedT", bound=Weighted)


class Split(Generic[WeightedT]):
    """Divides requests among targets in proportion to their weights."""

    __slots__ = ("_order", "_position", "targets")

    def __init__(self, targets: Sequence[WeightedT]) -> None:
        self.targets = targets
        sequence = fair_sequence([target.weight for target in targets])
        self._order = [targets[index] for index in sequence]
        self._position = 0

    def next(self) -> WeightedT:
        """The target of the next request without a key."""
        position = self._position
        target = self._order[position]
        position += 1
        self._position = position if position < len(self._order) else 0
        return target

    def of_key(self, key_hash: int) -> WeightedT:
        """The target of every request with this key."""
        targets = self.targets
        if len(targets) == 1:
            return targets[0]
        return max(targets, key=lambda target: score(key_hash, target.seed, target.weight))


def fair_sequence(weights: Sequence[int]) -> list[int]:
    """One period of indices; in each prefix the count of every index is its share, rounded up or
    down."""
    divisor = math.gcd(*weights)
    shares = [weight // divisor for weight in weights]
    total = sum(shares)
    counts = [0] * len(shares)
    sequence = []
    for turn in range(1, total + 1):
        eligible = [i for i, share in enumerate(shares) if counts[i] * total < turn * share]
        # The last turn by which its next request is not overdue: ceil((count + 1) * total / share).
        first = min(eligible, key=lambda i: -(-(counts[i] + 1) * total // shares[i]))
        counts[first] += 1
        sequence.append(first)
    return sequence


def hash_of(key: bytes) -> int:
    """64 bits, the same in every process."""
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little")


def seed_of(revision: int, port: int) -> int:
    """Makes the scores of different targets independent."""
    return hash_of(b"%d:%d" % (revision, port))


def score(key_hash: int, seed: int, weight: int) -> float:
    """Of one key at one target; the highest wins, with probability in proportion to weight."""
    # A uniform draw u in (0, 1) gives -log(u) / weight, exponential with that rate: of several,
    # the first to come is each one's with probability weight / total.
    # Of 52 bits, as half a step below 1 is still less than 1 then.
    uniform = ((_mix(key_hash ^ seed) >> 12) + 0.5) / (1 << 52)
    return weight / -math.log(uniform)


def _mix(x: int) -> int:
    """The finalizer of splitmix64 (G. Steele, D. Lea, C. Flood 2014)."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK_64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK_64
    return x ^ (x >> 31)
