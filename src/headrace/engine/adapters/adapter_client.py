"""Loads and unloads adapters from the front end of an engine core in another process."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from itertools import count

from headrace.core.errors import AdapterError, EngineDeadError
from headrace.engine.adapters.loaded_adapter import LoadedAdapter
from headrace.engine.messages import AdapterLoaded, LoadAdapter, ToCore, UnloadAdapter


class AdapterClient:
    """Knows which unfinished request has which adapter, so that none is freed while in use."""

    def __init__(self, send: Callable[[ToCore], None]) -> None:
        self._send = send
        self._ids = count(1)  # never used twice: cached prefixes are found by them
        self._loading: dict[int, asyncio.Future[None]] = {}
        self._of_request: dict[str, LoadedAdapter] = {}

    async def load(self, path: str) -> LoadedAdapter:
        """Load the adapter in this directory. Raises AdapterError or EngineDeadError."""
        adapter_id = next(self._ids)
        future = self._loading[adapter_id] = asyncio.get_running_loop().create_future()
        try:
            self._send(LoadAdapter(adapter_id, path))
            await asyncio.shield(future)
        except asyncio.CancelledError:
            # No request uses it: free it once it is loaded.
            future.add_done_callback(lambda done: self._forget(adapter_id, done))
            raise
        return LoadedAdapter(adapter_id, path)

    def unload(self, adapter: LoadedAdapter) -> None:
        """Refuse new requests, and free the adapter once its unfinished requests have ended."""
        if adapter.is_unloaded:
            return
        adapter.is_unloaded = True
        if adapter.num_requests == 0:
            self._send(UnloadAdapter(adapter.adapter_id))

    def acquire(self, request_id: str, adapter: LoadedAdapter | None) -> int:
        """The adapter's id for a new request, 0 for None. Raises AdapterError if it is unloaded."""
        if adapter is None:
            return 0
        if adapter.is_unloaded:
            raise AdapterError("The adapter was unloaded before the request began.")
        adapter.num_requests += 1
        self._of_request[request_id] = adapter
        return adapter.adapter_id

    def release(self, request_id: str) -> None:
        """The request has ended, in the core too; requests without an adapter are ignored."""
        adapter = self._of_request.pop(request_id, None)
        if adapter is None:
            return
        adapter.num_requests -= 1
        if adapter.is_unloaded and adapter.num_requests == 0:
            self._send_unless_dead(adapter.adapter_id)

    def on_loaded(self, message: AdapterLoaded) -> None:
        """The core's answer."""
        future = self._loading.pop(message.adapter_id, None)
        if future is None or future.done():
            return
        if message.error is None:
            future.set_result(None)
        else:
            future.set_exception(AdapterError(message.error))

    def fail(self, error: EngineDeadError) -> None:
        """The core has ended."""
        for future in self._loading.values():
            if not future.done():
                future.set_exception(error)
        self._loading.clear()

    def _forget(self, adapter_id: int, done: "asyncio.Future[None]") -> None:
        if not done.cancelled() and done.exception() is None:
            self._send_unless_dead(adapter_id)

    def _send_unless_dead(self, adapter_id: int) -> None:
        with suppress(EngineDeadError):  # then its memory is free
            self._send(UnloadAdapter(adapter_id))
