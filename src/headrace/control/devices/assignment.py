"""Which GPUs a replica or a run gets, or why it gets none.

Pure: knows no NVML and no store. As in Ray, whoever asks for less than one GPU shares it with
others that do, up to the whole of it, and a GPU that is shared already is filled before another
one is begun.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_WHOLE = 1000
"""A GPU in the smallest parts that can be asked for: sums of floats would not be exact."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What somebody has."""

    holder: str
    """For people: ``openllm revision 1``, which each of its replicas is, or ``run 3693…``."""
    shares: Mapping[str, float]
    """Of each GPU, by UUID; 1 is all of it."""


@dataclass(frozen=True, slots=True)
class Assigned:
    shares: dict[str, float]
    """Empty if nothing was asked for, or this machine has no GPU at all: then it does without."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    why: str
    """A sentence for people."""
    is_final: bool
    """This machine has not as many: waiting is of no use."""


def assign_gpus(
    asked: float | None, held: Sequence[Holding], uuids: Sequence[str]
) -> Assigned | Unavailable:
    """``asked``: a whole number, or a part of one GPU. ``uuids``: all that there are."""
    if not asked or not uuids:
        return Assigned({})
    if asked > len(uuids):
        return Unavailable(f"It asks for {asked:g} GPUs, and there are {len(uuids)} here.", True)
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
    return f"It waits for {what}: {which} held by {_listed(holders)}."


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
