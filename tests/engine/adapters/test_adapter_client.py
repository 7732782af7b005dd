"""The front end's account of adapters: when the core is told to free one."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from headrace.core.errors import AdapterError, EngineDeadError
from headrace.engine.adapters.adapter_client import AdapterClient
from headrace.engine.adapters.loaded_adapter import LoadedAdapter
from headrace.engine.messages import AdapterLoaded, LoadAdapter, ToCore, UnloadAdapter


class Core:
    """Collects what a client sends, and answers."""

    def __init__(self) -> None:
        self.sent: list[ToCore] = []
        self.client = AdapterClient(self.sent.append)

    async def load(self, error: str | None = None) -> LoadedAdapter:
        loading = asyncio.create_task(self.client.load("path"))
        await asyncio.sleep(0)
        self.client.on_loaded(AdapterLoaded(self.last_id, error))
        return await loading

    @property
    def last_id(self) -> int:
        message = self.sent[-1]
        assert isinstance(message, LoadAdapter)
        return message.adapter_id

    @property
    def freed(self) -> list[int]:
        return [each.adapter_id for each in self.sent if isinstance(each, UnloadAdapter)]


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(coroutine)


def test_ids_are_never_used_twice() -> None:
    async def check() -> None:
        core = Core()
        ids = []
        for _ in range(3):
            adapter = await core.load()
            ids.append(adapter.adapter_id)
            core.client.unload(adapter)
        assert (ids, core.freed) == ([1, 2, 3], [1, 2, 3])

    run(check())


def test_an_adapter_is_freed_after_its_last_request() -> None:
    async def check() -> None:
        core = Core()
        adapter = await core.load()
        assert core.client.acquire("a", adapter) == adapter.adapter_id
        core.client.acquire("b", adapter)
        assert core.client.acquire("c", None) == 0
        core.client.unload(adapter)
        with pytest.raises(AdapterError):
            core.client.acquire("d", adapter)
        core.client.release("a")
        core.client.release("a")
        core.client.release("c")
        assert core.freed == []
        core.client.release("b")
        core.client.unload(adapter)
        assert core.freed == [adapter.adapter_id]

    run(check())


def test_the_cores_reason_is_raised() -> None:
    async def check() -> None:
        core = Core()
        with pytest.raises(AdapterError, match="no rank"):
            await core.load("no rank")

    run(check())


def test_an_adapter_whose_load_was_cancelled_is_freed() -> None:
    async def check() -> None:
        core = Core()
        loading = asyncio.create_task(core.client.load("path"))
        await asyncio.sleep(0)
        adapter_id = core.last_id
        loading.cancel()
        await asyncio.wait([loading])
        assert core.freed == []
        core.client.on_loaded(AdapterLoaded(adapter_id))
        await asyncio.sleep(0)
        assert core.freed == [adapter_id]

    run(check())


def test_the_end_of_the_core_ends_the_loading() -> None:
    async def check() -> None:
        core = Core()
        loading = asyncio.create_task(core.client.load("path"))
        await asyncio.sleep(0)
        core.client.fail(EngineDeadError("gone"))
        with pytest.raises(EngineDeadError):
            await loading

    run(check())
