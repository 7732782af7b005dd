"""Sends a log as it is, and as it grows. Knows no replica and no run."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from starlette.concurrency import run_in_threadpool

_PIECE_BYTES = 64 * 1024
_POLL_S = 0.2


async def stream_log(
    find: Callable[[], Path | None],
    *,
    num_lines: int | None,
    is_over: Callable[[], bool] | None,
) -> AsyncIterator[bytes]:
    """The log's bytes, from its last ``num_lines`` on (all without it).

    ``find`` tells where the log is, once there is one.
    With ``is_over`` the stream goes on as the log grows, and ends when whoever writes it is gone
    and all has been sent.
    """
    path = await run_in_threadpool(find)
    position = await run_in_threadpool(_start_of, path, num_lines)
    while True:
        was_over = is_over is None or await run_in_threadpool(is_over)
        path = path or await run_in_threadpool(find)
        while piece := await run_in_threadpool(_read, path, position):
            position += len(piece)
            yield piece
        if was_over:
            return
        await asyncio.sleep(_POLL_S)


def _read(path: Path | None, position: int) -> bytes:
    if path is None:
        return b""
    try:
        with path.open("rb") as log:
            log.seek(position)
            return log.read(_PIECE_BYTES)
    except FileNotFoundError:
        return b""


def _start_of(path: Path | None, num_lines: int | None) -> int:
    """Where the last so many lines begin, read from the end."""
    if num_lines is None or path is None or not path.exists():
        return 0
    with path.open("rb") as log:
        size = end = log.seek(0, 2)
        if num_lines == 0:
            return size
        num_seen = 0
        while end > 0:
            begin = max(end - _PIECE_BYTES, 0)
            log.seek(begin)
            piece = log.read(end - begin)
            for offset in range(len(piece) - 1, -1, -1):
                is_last_byte = begin + offset == size - 1
                if piece[offset : offset + 1] == b"\n" and not is_last_byte:
                    num_seen += 1
                    if num_seen == num_lines:
                        return begin + offset + 1
            end = begin
    return 0
