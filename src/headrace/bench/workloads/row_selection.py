"""Which rows of a file are used, and in what order."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from headrace.bench.errors import WorkloadError

Item = TypeVar("Item")


def first_of(items: Sequence[Item], num_wanted: int | None, path: Path) -> Sequence[Item]:
    """The first ``num_wanted``; all if None. Raises WorkloadError if there are fewer."""
    if not items:
        raise WorkloadError(f"{path} has no usable rows.")
    if num_wanted is None:
        return items
    if num_wanted > len(items):
        raise WorkloadError(
            f"{path} has {len(items)} usable rows, but --num-prompts is {num_wanted}. Lower it: "
            "repeated prompts would be served from the prefix cache."
        )
    return items[:num_wanted]


def some_of(items: Sequence[Item], num_wanted: int | None, path: Path, seed: int) -> Sequence[Item]:
    """``num_wanted`` items drawn at random, in random order."""
    return first_of(random.Random(seed).sample(items, len(items)), num_wanted, path)
