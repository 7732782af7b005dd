"""Cancels the work for a client that disconnects."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Receive

from headrace.server.http.errors import ClientGoneError


@asynccontextmanager
async def stop_on_disconnect(receive: Receive) -> AsyncIterator[None]:
    """Cancel the block when the client closes its connection; raises ClientGoneError then.

    The body must have been read before the block, and the response must be completed after it:
    ASGI reports a completed response as a disconnect. One task watches the connection, so sending
    costs nothing more. The cancellation is undone with ``uncancel``, as in asyncio.timeout.
    """
    task = asyncio.current_task()
    if task is None:  # impossible within a coroutine
        raise RuntimeError("stop_on_disconnect needs a running task")
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if gone and task.uncancel() == 0:
            raise ClientGoneError from None
        raise
    finally:
        watcher.cancel()
