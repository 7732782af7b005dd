"""Streams a log, and follows it. A line replaces each part that was truncated."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from starlette.concurrency import run_in_threadpool

from headrace.control.retention.sparse_file import next_data, next_hole

_PIECE_BYTES = 64 * 1024
_POLL_S = 0.2
_POLLS_TO_ASK = 5
"""Whether the writer has ended is a query to the store, so it is checked less often."""
_MIB = 1024 * 1024


async def stream_log(
    find: Callable[[], Path | None],
    *,
    num_lines: int | None,
    is_over: Callable[[], bool] | None,
) -> AsyncIterator[bytes]:
    """The log's bytes, from its last ``num_lines`` on (None: all).

    ``find`` returns the log's path once it exists. With ``is_over`` the log is followed until its
    writer has ended and everything was sent.
    """
    path = await run_in_threadpool(find)
    position = await run_in_threadpool(_start_of, path, num_lines)
    num_polls = 0
    while True:
        was_over = is_over is None
        if is_over is not None and num_polls % _POLLS_TO_ASK == 0:
            was_over = await run_in_threadpool(is_over)
            path = path or await run_in_threadpool(find)
        while _has_more(path, position):
            piece = await run_in_threadpool(_read, path, position)
            if piece is None:
                break
            position = piece.end
            yield piece.content
        if was_over:
            return
        num_polls += 1
        await asyncio.sleep(_POLL_S)


def _has_more(path: Path | None, position: int) -> bool:
    """A stat takes microseconds, less than switching to a thread."""
    try:
        return path is not None and path.stat().st_size > position
    except OSError:
        return False


class _Piece(NamedTuple):
    content: bytes
    end: int
    """The begin of the next piece."""


def _read(path: Path | None, position: int) -> _Piece | None:
    """The next piece; None if there is none yet."""
    if path is None:
        return None
    try:
        with path.open("rb", buffering=0) as log:
            data = next_data(log.fileno(), position)
            if data > position:
                return _Piece(_gap(data - position), data)
            hole = next_hole(log.fileno(), position)
            log.seek(position)
            content = log.read(min(_PIECE_BYTES, hole - position))
            return _Piece(content, position + len(content)) if content else None
    except FileNotFoundError:
        return None


def _gap(num_bytes: int) -> bytes:
    return f"\n[{num_bytes / _MIB:.0f} MiB truncated]\n".encode()


def _start_of(path: Path | None, num_lines: int | None) -> int:
    """The begin of the last ``num_lines``, but not before the end of the last hole."""
    if num_lines is None or path is None or not path.exists():
        return 0
    with path.open("rb") as log:
        size = end = log.seek(0, 2)
        if num_lines == 0:
            return size
        first = _end_of_last_hole(log, size)
        num_left = num_lines
        while end > first:
            begin = max(end - _PIECE_BYTES, first)
            log.seek(begin)
            # A line end as the last byte of the file does not start a line.
            piece = log.read(min(end, size - 1) - begin)
            num_here = piece.count(b"\n")
            if num_here >= num_left:
                return begin + _nth_line_end_from_the_end(piece, num_left) + 1
            num_left -= num_here
            end = begin
    return first


def _nth_line_end_from_the_end(piece: bytes, number: int) -> int:
    at = len(piece)
    for _ in range(number):
        at = piece.rindex(b"\n", 0, at)
    return at


def _end_of_last_hole(log: BinaryIO, size: int) -> int:
    """0 if there is none."""
    end = 0
    while (hole := next_hole(log.fileno(), end)) < size:
        end = next_data(log.fileno(), hole)
    return end
