"""Which rows of a file are used, and in what order. Knows nothing of what they hold."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from headrace.bench.errors import WorkloadError

Item = TypeVar("Item")


def first_of(items: Sequence[Item], num_wanted: int | None, path: Path) -> Sequence[Item]:
    """As many as are wanted, from the beginning; all if None. Raises WorkloadError if too few."""
    if not items:
        raise WorkloadError(f"{path} has nothing that can be used.")
    if num_wanted is None:
        return items
    if num_wanted > len(items):
        raise WorkloadError(
            f"{path} has {len(items)} usable rows and {num_wanted} were asked for. Ask for fewer: "
            "prompts that come again would be answered from the server's prefix cache."
        )
    return items[:num_wanted]


def some_of(items: Sequence[Item], num_wanted: int | None, path: Path, seed: int) -> Sequence[Item]:
    """As many as are wanted, drawn and put into an order by the seed."""
    return first_of(random.Random(seed).sample(items, len(items)), num_wanted, path)
