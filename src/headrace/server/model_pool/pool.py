"""Loads models on first use and unloads the least recently used.

A request leases the model that it uses; a model is unloaded only without leases. When a request
needs room, an idle model makes it; if all are in use, the least recently used one drains: it gets
no new leases and is unloaded after its requests. Models that requests wait for are loaded in the
order of their first waiting request, so no model waits forever.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Generic, Protocol, TypeVar

from headrace.core.clock import Clock, MonotonicClock
from headrace.core.errors import (
    EngineDrainingError,
    HeadraceError,
    ModelLoadError,
    QueueFullError,
)
from headrace.engine.messages import StartupPhase
from headrace.server.http.errors import unknown_model
from headrace.server.model_pool.slot import IN_MEMORY, Slot, SlotState

RETRY_AFTER_S = 5
"""Sent to clients that are refused because too many wait for a model to be loaded."""

M = TypeVar("M")
OnPhase = Callable[[StartupPhase], None]

logger = logging.getLogger("headrace.server")


class ModelLoader(Protocol[M]):
    """Loads and unloads models of type M, by name."""

    async def load(self, name: str, on_phase: OnPhase) -> M:
        """Raises HeadraceError if it cannot be loaded. May be cancelled."""

    async def unload(self, name: str, model: M) -> None:
        """Free what the model uses."""

    async def wait_dead(self, model: M) -> None:
        """Wait until the model's process ends unexpectedly."""

    def names_of(self, model: M) -> Sequence[str]:
        """The names that requests may use for a loaded model."""


class ModelPool(Generic[M]):
    """The models of one server, for one event loop."""

    def __init__(
        self,
        slots: Sequence[Slot[M]],
        loader: ModelLoader[M],
        *,
        max_loaded: int,
        keep_alive_s: float | None = None,
        reloads_dead: bool = True,
        clock: Clock | None = None,
    ) -> None:
        """max_loaded: models that may be in memory at the same time.
        keep_alive_s: unload models that no request used for so long; None: never.
        reloads_dead: unload a model whose process has ended, so that it can be loaded again.
        """
        self.slots = tuple(slots)
        self._loader = loader
        self._max_loaded = max_loaded
        self._keep_alive_s = keep_alive_s
        self.reloads_dead = reloads_dead
        self._clock = clock or MonotonicClock()
        self._by_name = {name: slot for slot in slots for name in slot.names}
        self._num_waited = 0
        self._is_draining = False
        self._loads: dict[str, asyncio.Task[None]] = {}
        self._unloads: dict[str, asyncio.Task[None]] = {}
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._dead = asyncio.Event()

    @property
    def names(self) -> tuple[str, ...]:
        """All names of all models."""
        return tuple(name for slot in self.slots for name in self.names_of(slot))

    @property
    def models(self) -> list[M]:
        """Those that are loaded, in the order of the slots."""
        return [slot.model for slot in self.slots if slot.model is not None]

    @property
    def is_draining(self) -> bool:
        return self._is_draining

    @property
    def num_waiting(self) -> int:
        """Requests that wait for a model to be loaded."""
        return sum(len(slot.waiters) for slot in self.slots)

    def names_of(self, slot: Slot[M]) -> Sequence[str]:
        """The names that requests may use for this model."""
        return slot.names if slot.model is None else self._loader.names_of(slot.model)

    def find(self, name: str | None) -> Slot[M]:
        """The model of this name, by default the first; raises ApiError (404) for an unknown
        one."""
        if not name:
            return self.slots[0]
        slot = self._by_name.get(name)
        if slot is not None:
            return slot
        for each in self.slots:
            if name in self.names_of(each):
                return each
        raise unknown_model(name, self.names)

    def lease_loaded(self, slot: Slot[M]) -> M | None:
        """Lease the model if it is loaded; ``release`` ends the lease."""
        if slot.state is not SlotState.LOADED:
            return None
        return self._grant(slot)

    async def lease(self, slot: Slot[M]) -> M:
        """Lease the model, which is loaded if it is not; ``release`` ends the lease.

        Raises ModelLoadError if it cannot be loaded, QueueFullError if too many requests wait for
        it, EngineDrainingError if the server shuts down. A cancelled call has no lease.
        """
        model = self.lease_loaded(slot)
        if model is not None:
            return model
        if self._is_draining:
            raise _draining()
        if len(slot.waiters) >= slot.max_num_waiting:
            raise QueueFullError(slot.max_num_waiting, RETRY_AFTER_S)
        waiter: asyncio.Future[M] = asyncio.get_running_loop().create_future()
        self._num_waited += 1
        slot.waiters[waiter] = self._num_waited
        self._schedule()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.release(slot)
            raise
        finally:
            if slot.waiters.pop(waiter, None) is not None:
                self._schedule()

    def release(self, slot: Slot[M]) -> None:
        """End one lease."""
        slot.num_leases -= 1
        slot.last_used = self._clock.now()
        if slot.num_leases:
            return
        if slot.state is SlotState.DRAINING:
            self._start_unload(slot)
        elif any(each.waiters for each in self.slots):
            self._schedule()

    async def wait_dead(self) -> None:
        """Wait until a model's process has ended that is not loaded again."""
        await self._dead.wait()

    async def load_first(self) -> M:
        """Load the first model, before any request; raises the loader's errors."""
        slot = self.slots[0]
        slot.state = SlotState.LOADING
        try:
            model = await self._loader.load(slot.name, partial(_note_phase, slot))
        except BaseException:
            slot.state = SlotState.FAILED
            raise
        self._add(slot, model)
        return model

    def expire_idle(self) -> float | None:
        """Unload models that were idle for the keep-alive time; returns the seconds until the next
        may expire, None for never."""
        if self._keep_alive_s is None:
            return None
        now = self._clock.now()
        delay = self._keep_alive_s
        for slot in self.slots:
            if slot.state is not SlotState.LOADED or slot.num_leases:
                continue
            left = slot.last_used + self._keep_alive_s - now
            if left <= 0:
                self._start_unload(slot)
            else:
                delay = min(delay, left)
        return delay

    async def keep_expiring(self) -> None:
        """Call ``expire_idle`` whenever a model may expire; returns at once if none ever does."""
        while (delay := self.expire_idle()) is not None:
            await asyncio.sleep(delay)

    def drain(self) -> None:
        """Load nothing more. Requests that wait for a model fail with EngineDrainingError."""
        self._is_draining = True
        for slot in self.slots:
            self._fail_waiters(slot, _draining())
        for task in self._loads.values():
            task.cancel()

    async def close(self) -> None:
        """Drain, then unload all models, whether they have leases or not."""
        self.drain()
        await _finish(self._loads)
        for slot in self.slots:
            if slot.model is not None:
                self._start_unload(slot)
        await _finish(self._unloads)

    def _grant(self, slot: Slot[M]) -> M:
        assert slot.model is not None
        slot.num_leases += 1
        slot.last_used = self._clock.now()
        return slot.model

    def _grant_waiters(self, slot: Slot[M]) -> None:
        waiters, slot.waiters = slot.waiters, {}
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(self._grant(slot))

    def _fail_waiters(self, slot: Slot[M], error: HeadraceError) -> None:
        waiters, slot.waiters = slot.waiters, {}
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error)

    def _schedule(self) -> None:
        """Load what requests wait for, as far as there is room, and make room for the rest."""
        wanted = [slot for slot in self.slots if slot.waiters and slot.state not in IN_MEMORY]
        wanted.sort(key=lambda slot: next(iter(slot.waiters.values())))
        num_free = self._max_loaded - sum(slot.state in IN_MEMORY for slot in self.slots)
        for slot in wanted[:num_free]:
            self._start_load(slot)
        num_leaving = sum(slot.state is SlotState.UNLOADING or slot.is_dead for slot in self.slots)
        self._make_room(len(wanted) - num_free - num_leaving)

    def _make_room(self, num_needed: int) -> None:
        """Unload or drain this number of models; draining ones that are not needed stay loaded."""
        loaded = [slot for slot in self.slots if slot.state is SlotState.LOADED]
        loaded.sort(key=lambda slot: slot.last_used)
        for slot in [slot for slot in loaded if not slot.num_leases][: max(0, num_needed)]:
            self._start_unload(slot)
            num_needed -= 1
        for slot in self.slots:
            if slot.state is not SlotState.DRAINING or slot.is_dead:
                continue
            if num_needed > 0:
                num_needed -= 1
            else:
                slot.state = SlotState.LOADED
                self._grant_waiters(slot)
        in_use = [slot for slot in loaded if slot.state is SlotState.LOADED and slot.num_leases]
        for slot in in_use[: max(0, num_needed)]:
            slot.state = SlotState.DRAINING

    def _start_load(self, slot: Slot[M]) -> None:
        slot.state = SlotState.LOADING
        slot.phases.clear()
        self._loads[slot.name] = asyncio.get_running_loop().create_task(self._load(slot))

    async def _load(self, slot: Slot[M]) -> None:
        try:
            model = await self._loader.load(slot.name, partial(_note_phase, slot))
        except asyncio.CancelledError:
            slot.state = SlotState.UNLOADED
            raise
        except Exception as error:
            slot.state = SlotState.FAILED
            self._fail_waiters(slot, _load_error(slot.name, error))
        else:
            self._add(slot, model)
            self._grant_waiters(slot)
        finally:
            del self._loads[slot.name]
        self._schedule()

    def _add(self, slot: Slot[M], model: M) -> None:
        slot.model, slot.state = model, SlotState.LOADED
        slot.last_used = self._clock.now()
        watching = self._watch(slot, model)
        self._watchers[slot.name] = asyncio.get_running_loop().create_task(watching)

    async def _watch(self, slot: Slot[M], model: M) -> None:
        await self._loader.wait_dead(model)
        if not self.reloads_dead:
            self._dead.set()
            return
        logger.error("The process of model %s has ended; the next request loads it.", slot.name)
        del self._watchers[slot.name]
        slot.is_dead, slot.state = True, SlotState.DRAINING
        if not slot.num_leases:
            self._start_unload(slot)

    def _start_unload(self, slot: Slot[M]) -> None:
        model, slot.model = slot.model, None
        assert model is not None
        slot.state, slot.is_dead = SlotState.UNLOADING, False
        watcher = self._watchers.pop(slot.name, None)
        if watcher is not None:
            watcher.cancel()
        unloading = self._unload(slot, model)
        self._unloads[slot.name] = asyncio.get_running_loop().create_task(unloading)

    async def _unload(self, slot: Slot[M], model: M) -> None:
        try:
            await self._loader.unload(slot.name, model)
        except Exception:
            logger.exception("Unloading model %s failed.", slot.name)
        finally:
            slot.state = SlotState.UNLOADED
            del self._unloads[slot.name]
        self._schedule()


def _note_phase(slot: Slot[M], phase: StartupPhase) -> None:
    slot.phases[phase.name] = phase


def _load_error(name: str, error: Exception) -> HeadraceError:
    """The text of an unexpected exception is not disclosed."""
    if isinstance(error, HeadraceError):
        logger.error("Loading model %s failed: %s", name, error)
        return ModelLoadError(f"Model {name} could not be loaded: {error}")
    logger.error("Loading model %s failed.", name, exc_info=error)
    return ModelLoadError(f"Model {name} could not be loaded. See the server's log for the cause.")


def _draining() -> EngineDrainingError:
    return EngineDrainingError("The server is shutting down and accepts no new requests.")


async def _finish(tasks: dict[str, asyncio.Task[None]]) -> None:
    while tasks:
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks.values(), return_exceptions=True)
