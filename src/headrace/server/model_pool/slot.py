"""One model of a pool: its names, its state and the requests that use it."""

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from headrace.engine.messages import StartupPhase

M = TypeVar("M")


class SlotState(StrEnum):
    """The values of ``state`` in /v1/models and /load."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    LOADED = "loaded"
    DRAINING = "draining"
    """Its requests finish, then it is unloaded; new ones wait until it is loaded again."""
    UNLOADING = "unloading"
    FAILED = "failed"
    """Not loaded, since the last attempt failed; the next request tries again."""


IN_MEMORY = frozenset(
    {SlotState.LOADING, SlotState.LOADED, SlotState.DRAINING, SlotState.UNLOADING}
)


@dataclass(eq=False)
class Slot(Generic[M]):
    """A model of type M when it is loaded. The pool alone changes it."""

    names: tuple[str, ...]
    """The name in responses, then its aliases."""
    max_num_waiting: int
    """Requests that may wait for it to be loaded; further ones are refused."""
    state: SlotState = SlotState.UNLOADED
    model: M | None = None
    num_leases: int = 0
    """Requests in progress that use the model."""
    last_used: float = 0.0
    """When the last lease began or ended, monotonic, in seconds."""
    is_dead: bool = False
    """The model's process has ended: requests in progress fail, and it is unloaded after them."""
    waiters: dict[asyncio.Future[M], int] = field(default_factory=dict)
    """Requests that wait for the model, in order, with their number in the pool."""
    phases: dict[str, StartupPhase] = field(default_factory=dict)
    """Phases of the last load, by name, as far as they have begun."""

    @property
    def name(self) -> str:
        return self.names[0]
