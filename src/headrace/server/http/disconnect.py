"""Stopping the work for a client that went away.

Knows only ASGI's receive channel; what is stopped cleans up after itself.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Receive

from headrace.server.http.errors import ClientGoneError


@asynccontextmanager
async def stop_on_disconnect(receive: Receive) -> AsyncIterator[None]:
    """Cancel the block when the client closes its connection, and raise ClientGoneError then.

    The body must have been read, and the reply's end must be sent after the block: a reply that is
    complete looks like a client that is gone. One task watches the connection, so that the block
    itself pays nothing for it, however often it sends. (The cancellation is taken back as
    asyncio.timeout takes back its own.)
    """
    task = asyncio.current_task()
    if task is None:  # impossible within a coroutine
        raise RuntimeError("no task to stop")
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
