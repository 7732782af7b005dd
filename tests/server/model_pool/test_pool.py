"""Which models a pool loads and unloads, with a loader that a test controls."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headrace.core.errors import (
    EngineDrainingError,
    HeadraceError,
    MemoryFitError,
    ModelLoadError,
    QueueFullError,
)
from headrace.engine.messages import StartupPhase
from headrace.server.http.errors import ApiError
from headrace.server.model_pool.pool import ModelPool
from headrace.server.model_pool.slot import IN_MEMORY, Slot, SlotState

NAMES = ("a", "b", "c", "d")
MAX_WAITING = 5


@dataclass(eq=False)
class Model:
    name: str
    dead: asyncio.Future[None]
    is_unloaded: bool = False


@dataclass(eq=False)
class Loader:
    """Loads and unloads when the test says so."""

    check_unload: Callable[[str], None] = lambda name: None
    loading: dict[str, asyncio.Future[Model]] = field(default_factory=dict)
    loaded: dict[str, Model] = field(default_factory=dict)
    unloading: dict[str, asyncio.Future[None]] = field(default_factory=dict)
    history: list[str] = field(default_factory=list)
    """``+a`` for a load of a, ``-a`` for its unload, when they begin."""

    async def load(self, name: str, on_phase: Callable[[StartupPhase], None]) -> Model:
        self.history.append(f"+{name}")
        on_phase(StartupPhase("load weights", None, 1, 2))
        assert name not in self.in_memory
        self.loading[name] = asyncio.get_running_loop().create_future()
        try:
            self.loaded[name] = await self.loading[name]
        finally:
            del self.loading[name]
        return self.loaded[name]

    async def unload(self, name: str, model: Model) -> None:
        self.history.append(f"-{name}")
        self.check_unload(name)
        assert self.loaded.pop(name) is model
        self.unloading[name] = asyncio.get_running_loop().create_future()
        try:
            await self.unloading[name]
        finally:
            del self.unloading[name]
            model.is_unloaded = True

    async def wait_dead(self, model: Model) -> None:
        await asyncio.shield(model.dead)

    def names_of(self, model: Model) -> Sequence[str]:
        return (model.name,)

    @property
    def in_memory(self) -> set[str]:
        return {*self.loading, *self.loaded, *self.unloading}

    def finish_load(self, name: str, error: Exception | None = None) -> None:
        if error is not None:
            self.loading[name].set_exception(error)
        else:
            dead: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.loading[name].set_result(Model(name, dead))

    def finish_all(self) -> None:
        for name, loading in self.loading.items():
            if not loading.done():
                self.finish_load(name)
        for unloading in self.unloading.values():
            if not unloading.done():
                unloading.set_result(None)


class FakeClock:
    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time


async def settle() -> None:
    """Let all tasks run until they wait for the test."""
    for _ in range(12):
        await asyncio.sleep(0)


async def finish(loader: Loader) -> None:
    """Finish all loads and unloads, and those that they cause."""
    for _ in range(4 * len(NAMES)):
        await settle()
        loader.finish_all()
    await settle()


class Bench:
    """A pool with a loader whose work ends at once, when ``settle`` is called."""

    def __init__(self, max_loaded: int, keep_alive_s: float | None = None) -> None:
        self.loader = Loader()
        self.clock = FakeClock()
        self.pool = ModelPool(
            [Slot[Model]((name, f"{name}-alias"), MAX_WAITING) for name in NAMES],
            self.loader,
            max_loaded=max_loaded,
            keep_alive_s=keep_alive_s,
            clock=self.clock,
        )

    def start(self, name: str) -> asyncio.Task[Model]:
        """A request that waits for the model."""
        return asyncio.create_task(self.pool.lease(self.pool.find(name)))

    async def use(self, name: str) -> None:
        """A whole request, at a later time than the last."""
        self.clock.time += 1
        request = self.start(name)
        await finish(self.loader)
        assert request.result().name == name
        self.pool.release(self.pool.find(name))

    def state(self, name: str) -> SlotState:
        return self.pool.find(name).state


@asynccontextmanager
async def bench(max_loaded: int, keep_alive_s: float | None = None) -> AsyncIterator[Bench]:
    created = Bench(max_loaded, keep_alive_s)
    yield created
    closing = asyncio.create_task(created.pool.close())
    await finish(created.loader)
    await closing
    assert not created.loader.in_memory


def run(test: Coroutine[None, None, None]) -> None:
    asyncio.run(test)


def test_the_least_recently_used_model_is_unloaded() -> None:
    async def scenario() -> None:
        async with bench(max_loaded=2) as b:
            for name in ("a", "b", "a", "c"):
                await b.use(name)
            assert b.loader.history == ["+a", "+b", "-b", "+c"]
            await b.use("b")
            assert b.loader.history[4:] == ["-a", "+b"]

    run(scenario())


def test_names_and_aliases_find_a_model_and_others_get_404() -> None:
    async def scenario() -> None:
        async with bench(max_loaded=1) as b:
            assert b.pool.find(None).name == "a"
            assert b.pool.find("c-alias").name == "c"
            with pytest.raises(ApiError) as refused:
                b.pool.find("nope")
            assert refused.value.status == 404

    run(scenario())


def test_a_model_in_use_is_unloaded_after_its_requests() -> None:
    async def scenario() -> None:
        async with bench(max_loaded=1) as b:
            running = b.start("a")
            await finish(b.loader)
            waiting = b.start("b")
            await finish(b.loader)
            assert running.done()
            assert not waiting.done()
            assert b.state("a") is SlotState.DRAINING
            late = b.start("a")  # waits behind b: it would otherwise keep a loaded for ever
            await finish(b.loader)
            assert not late.done()
            b.pool.release(b.pool.find("a"))
            await finish(b.loader)
            assert waiting.result().name == "b"
            assert not late.done()
            b.pool.release(b.pool.find("b"))
            await finish(b.loader)
            assert late.result().name == "a"
            b.pool.release(b.pool.find("a"))

    run(scenario())


def test_an_idle_model_makes_room_for_one_that_waited_for_a_busy_one() -> None:
    async def scenario() -> None:
        async with bench(max_loaded=2) as b:
            requests = [b.start("a"), b.start("b")]
            await finish(b.loader)
            waiting = b.start("c")
            await finish(b.loader)
            assert b.state("a") is SlotState.DRAINING
            b.pool.release(b.pool.find("b"))
            await finish(b.loader)
            assert waiting.done()
            assert all(request.done() for request in requests)
            assert b.state("a") is SlotState.LOADED
            assert b.state("b") is SlotState.UNLOADED
            for name in ("a", "c"):
                b.pool.release(b.pool.find(name))

    run(scenario())


def test_a_model_stays_loaded_if_the_requests_for_others_are_cancelled() -> None:
    async def scenario() -> None:
        async with bench(max_loaded=1) as b:
            b.start("a")
            await finish(b.loader)
            waiting, late = b.start("b"), b.start("a")
            await finish(b.loader)
            assert not late.done()
            waiting.cancel()
            await finish(b.loader)
            assert late.result().name == "a"
            assert b.pool.num_waiting == 0
            assert b.loader.history == ["+a"]
            for _ in range(2):
                b.pool.release(b.pool.find("a"))

    run(scenario())


def test_a_model_that_cannot_be_loaded_fails_its_requests_and_is_tried_again() -> None:
    async def scenario() -> None:
        async with bench(max_loaded=1) as b:
            for error, text in (
                (MemoryFitError("no room"), "no room"),
                (ZeroDivisionError("secret"), "log"),
            ):
                requests = [b.start("a"), b.start("a")]
                await settle()
                assert b.pool.find("a").phases["load weights"].total == 2
                b.loader.finish_load("a", error)
                await settle()
                for request in requests:
                    with pytest.raises(ModelLoadError, match=text) as failed:
                        request.result()
                    assert "secret" not in str(failed.value)
                assert b.state("a") is SlotState.FAILED
            await b.use("a")

    run(scenario())


def test_the_number_of_waiting_requests_is_bounded() -> None:
    async def scenario() -> None:
        async with bench(max_loaded=1) as b:
            requests = [b.start("a") for _ in range(MAX_WAITING + 1)]
            await settle()
            with pytest.raises(QueueFullError):
                requests.pop().result()
            requests.pop().cancel()
            await settle()
            requests.append(b.start("a"))
            await finish(b.loader)
            for request in requests:
                assert request.result().name == "a"
                b.pool.release(b.pool.find("a"))

    run(scenario())


def test_idle_models_are_unloaded_after_the_keep_alive_time() -> None:
    async def scenario() -> None:
        async with bench(max_loaded=2, keep_alive_s=10.0) as b:
            await b.use("a")  # at 1
            running = b.start("b")
            await finish(b.loader)
            b.clock.time = 4.0
            assert b.pool.expire_idle() == 7.0
            b.clock.time = 11.0
            assert b.pool.expire_idle() == 10.0
            await finish(b.loader)
            assert b.state("a") is SlotState.UNLOADED
            b.clock.time = 100.0
            b.pool.expire_idle()
            assert running.done()
            assert b.state("b") is SlotState.LOADED
            b.pool.release(b.pool.find("b"))
            assert b.pool.expire_idle() == 10.0
            b.clock.time = 110.0
            b.pool.expire_idle()
            await finish(b.loader)
            assert b.state("b") is SlotState.UNLOADED

    run(scenario())


def test_without_a_keep_alive_time_models_stay_loaded() -> None:
    async def scenario() -> None:
        async with bench(max_loaded=1) as b:
            await b.use("a")
            b.clock.time = 1e9
            assert b.pool.expire_idle() is None
            await b.pool.keep_expiring()
            assert b.state("a") is SlotState.LOADED

    run(scenario())


def test_a_model_whose_process_died_is_loaded_again_for_the_next_request() -> None:
    async def scenario() -> None:
        async with bench(max_loaded=1) as b:
            running = b.start("a")
            await finish(b.loader)
            running.result().dead.set_result(None)
            await settle()
            following = b.start("a")
            await finish(b.loader)
            assert not following.done()  # the running request fails first, by its engine's error
            b.pool.release(b.pool.find("a"))
            await finish(b.loader)
            assert following.result() is not running.result()
            b.pool.release(b.pool.find("a"))

    run(scenario())


def test_draining_refuses_requests_that_wait_for_a_model() -> None:
    async def scenario() -> None:
        async with bench(max_loaded=1) as b:
            waiting = b.start("a")
            await settle()
            b.pool.drain()
            await settle()
            late = b.start("a")
            await settle()
            for request in (waiting, late):
                with pytest.raises(EngineDrainingError):
                    request.result()
            assert not b.loader.in_memory

    run(scenario())


class PoolMachine(RuleBasedStateMachine):
    """Requests, cancellations, failures and expiry in any order."""

    @initialize(max_loaded=st.integers(1, 3), keep_alive_s=st.none() | st.just(5.0))
    def create(self, max_loaded: int, keep_alive_s: float | None) -> None:
        self.loop = asyncio.new_event_loop()
        self.waiting: list[tuple[str, asyncio.Task[Model]]] = []
        self.running: list[Model] = []
        self.max_loaded = max_loaded
        self.bench = self.loop.run_until_complete(self._create(max_loaded, keep_alive_s))
        self.bench.loader.check_unload = self._check_unload

    async def _create(self, max_loaded: int, keep_alive_s: float | None) -> Bench:
        return Bench(max_loaded, keep_alive_s)

    def _check_unload(self, name: str) -> None:
        assert name not in {model.name for model in self.running}

    def _do(self, action: Callable[[], object]) -> None:
        async def act() -> None:
            action()
            await settle()

        self.loop.run_until_complete(act())
        self._collect()

    def _collect(self) -> None:
        """Note which of the waiting requests got an answer."""
        for name, task in self.waiting:
            if not task.done() or task.cancelled():
                continue
            error = task.exception()
            if error is None:
                model = task.result()
                assert model.name == name
                assert not model.is_unloaded
                self.running.append(model)
            else:
                assert isinstance(error, HeadraceError)
        self.waiting = [(name, task) for name, task in self.waiting if not task.done()]

    @rule(name=st.sampled_from(NAMES))
    def request(self, name: str) -> None:
        self._do(lambda: self.waiting.append((name, self.bench.start(name))))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        _, task = data.draw(st.sampled_from(self.waiting))
        self._do(task.cancel)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        position = data.draw(st.integers(0, len(self.running) - 1))
        model = self.running.pop(position)
        self._do(lambda: self.bench.pool.release(self.bench.pool.find(model.name)))

    @precondition(lambda self: self.bench.loader.loading)
    @rule(data=st.data(), fails=st.booleans())
    def finish_load(self, data: st.DataObject, fails: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.bench.loader.loading)))
        error = MemoryFitError("no room") if fails else None
        self._do(lambda: self.bench.loader.finish_load(name, error))

    @precondition(lambda self: self.bench.loader.loading and self.waiting)
    @rule(data=st.data())
    def finish_load_and_cancel(self, data: st.DataObject) -> None:
        """The client leaves in the moment in which it would get the model."""
        name = data.draw(st.sampled_from(sorted(self.bench.loader.loading)))
        _, task = data.draw(st.sampled_from(self.waiting))

        async def act() -> None:
            self.bench.loader.finish_load(name)
            for _ in range(data.draw(st.integers(0, 4))):
                await asyncio.sleep(0)
            if not task.done():
                task.cancel()
            await settle()

        self.loop.run_until_complete(act())
        self._collect()

    @precondition(lambda self: self.bench.loader.unloading)
    @rule(data=st.data())
    def finish_unload(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.bench.loader.unloading)))
        self._do(lambda: self.bench.loader.unloading[name].set_result(None))

    @precondition(lambda self: self.bench.loader.loaded)
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.bench.loader.loaded)))
        dead = self.bench.loader.loaded[name].dead
        if not dead.done():
            self._do(lambda: dead.set_result(None))

    @rule(seconds=st.sampled_from([1.0, 6.0]))
    def expire(self, seconds: float) -> None:
        self.bench.clock.time += seconds
        self._do(self.bench.pool.expire_idle)

    @invariant()
    def no_more_models_than_allowed_are_in_memory(self) -> None:
        slots = self.bench.pool.slots
        in_memory = {slot.name for slot in slots if slot.state in IN_MEMORY}
        assert self.bench.loader.in_memory == in_memory
        assert len(in_memory) <= self.max_loaded

    @invariant()
    def leases_are_those_of_the_running_requests(self) -> None:
        for slot in self.bench.pool.slots:
            names = [model.name for model in self.running]
            assert slot.num_leases == names.count(slot.name)
        assert self.bench.pool.num_waiting == len(self.waiting)
        assert not any(model.is_unloaded for model in self.running)

    def teardown(self) -> None:
        if not hasattr(self, "bench"):
            return
        # Every waiting request gets an answer when the running ones end.
        for _ in range(2 * len(NAMES) * MAX_WAITING):
            while self.running:
                model = self.running.pop()
                self._do(
                    lambda model=model: self.bench.pool.release(  # type: ignore[misc]
                        self.bench.pool.find(model.name)
                    )
                )
            self.loop.run_until_complete(finish(self.bench.loader))
            self._collect()
            if not self.waiting and not self.running:
                break
        assert not self.waiting

        async def close() -> None:
            closing = asyncio.create_task(self.bench.pool.close())
            await finish(self.bench.loader)
            await closing

        self.loop.run_until_complete(close())
        assert not self.bench.loader.in_memory
        self.loop.close()


PoolMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestPoolMachine = PoolMachine.TestCase
