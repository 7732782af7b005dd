import asyncio
from pathlib import Path

import pytest

from headrace.control.api.log_stream import stream_log


async def collect(path: Path | None, num_lines: int | None = None) -> bytes:
    pieces = stream_log(lambda: path, num_lines=num_lines, is_over=None)
    return b"".join([piece async for piece in pieces])


@pytest.mark.parametrize(
    ("num_lines", "expected"),
    [
        (None, "one\ntwo\nthree\n"),
        (0, ""),
        (1, "three\n"),
        (2, "two\nthree\n"),
        (3, "one\ntwo\nthree\n"),
        (9, "one\ntwo\nthree\n"),
    ],
)
def test_sends_the_last_lines(tmp_path: Path, num_lines: int | None, expected: str) -> None:
    path = tmp_path / "log"
    path.write_text("one\ntwo\nthree\n")
    assert asyncio.run(collect(path, num_lines)).decode() == expected


def test_long_logs_are_read_from_their_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    lines = [f"line {number} {'x' * 90}" for number in range(3000)]
    path.write_text("\n".join(lines))  # the last line has no end yet
    assert asyncio.run(collect(path, 1500)).decode() == "\n".join(lines[-1500:])


@pytest.mark.parametrize("exists", [False, True])
def test_no_log_is_an_empty_one(tmp_path: Path, exists: bool) -> None:
    assert asyncio.run(collect(tmp_path / "log" if exists else None, 5)) == b""


def test_follows_until_the_writer_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "log"
    is_over = False

    async def follow() -> bytes:
        nonlocal is_over
        stream = stream_log(
            lambda: path if path.exists() else None, num_lines=None, is_over=lambda: is_over
        )
        queries = asyncio.ensure_future(anext(stream))
        path.write_text("first\n")
        got = await asyncio.wait_for(queries, 60)
        with path.open("a") as log:
            log.write("last\n")
        is_over = True
        async for piece in stream:
            got += piece
        return got

    assert asyncio.run(follow()) == b"first\nlast\n"
