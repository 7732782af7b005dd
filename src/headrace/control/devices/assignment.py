"""Decides which GPUs a replica or a run gets. Pure.

As in Ray, a request for less than one GPU shares one with other such requests, up to its whole
capacity, and a GPU that is shared already is filled before another is used.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_WHOLE = 1000
"""A GPU in its smallest assignable parts. Integers, because sums of floats are not exact."""


@dataclass(frozen=True, slots=True)
class Holding:
    """GPUs in use."""

    holder: str
    """For messages: ``openllm revision 1`` for each of its replicas, or ``run 3693…``."""
    shares: Mapping[str, float]
    """Of each GPU by UUID; 1 is the whole GPU."""


@dataclass(frozen=True, slots=True)
class Assigned:
    shares: dict[str, float]
    """Empty if none were requested, or this machine has no GPU: then it runs without."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    why: str
    """A sentence for users."""
    is_final: bool
    """This machine has too few GPUs, so it would wait for ever."""


def assign_gpus(
    asked: float | None, held: Sequence[Holding], uuids: Sequence[str]
) -> Assigned | Unavailable:
    """``asked``: a whole number, or a share of one GPU. ``uuids``: all of this machine's GPUs."""
    if not asked or not uuids:
        return Assigned({})
    if asked > len(uuids):
        return Unavailable(
            f"Insufficient GPUs: {asked:g} requested, this machine has {len(uuids)}.", True
        )
    num, part = (1, _parts(asked)) if asked < 1 else (int(asked), _WHOLE)
    free = {uuid: _WHOLE - sum(_parts(one.shares.get(uuid, 0)) for one in held) for uuid in uuids}
    fitting = sorted((uuid for uuid in uuids if free[uuid] >= part), key=free.__getitem__)
    if len(fitting) < num:
        taken = frozenset(uuids).difference(fitting)
        return Unavailable(_waits_for(asked, held, taken, len(uuids)), False)
    return Assigned(dict.fromkeys(fitting[:num], part / _WHOLE))


def _parts(share: float) -> int:
    return round(share * _WHOLE)


def _waits_for(asked: float, held: Sequence[Holding], taken: frozenset[str], num: int) -> str:
    what = f"{asked:g} GPU" if asked <= 1 else f"{asked:g} GPUs"
    if num == 1:
        which = "the only one is"
    elif len(taken) == num:
        which = f"all {num} are"
    else:
        which = f"{len(taken)} of {num} {'is' if len(taken) == 1 else 'are'}"
    counts = Counter(one.holder for one in held if not taken.isdisjoint(one.shares))
    holders = [
        holder if count == 1 else f"{holder} ({count} replicas)" for holder, count in counts.items()
    ]
    return f"Waiting for {what}: {which} in use by {_listed(holders)}."


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
