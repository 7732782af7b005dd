"""Blocking work on a thread that does not delay the interpreter's exit."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


async def in_daemon_thread(work: Callable[[], _T]) -> _T:
    """Run ``work`` and return its result, or raise its exception.

    A download may take hours; Ctrl-C must not wait for it, as it does for asyncio's own threads.
    """
    future: concurrent.futures.Future[_T] = concurrent.futures.Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    # Marked as running, so that cancelling the waiting task does not cancel the future.
    future.set_running_or_notify_cancel()
    threading.Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(future)
