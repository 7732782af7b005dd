"""A log that is written and followed all the while is bounded, and no line of its end is lost."""

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path

from headrace.control.api.log_stream import stream_log
from headrace.control.processes.process_group import is_alive, start_group
from headrace.control.retention.log_truncation import truncate_log
from headrace.control.retention.policy import LogLimit

MIB = 1024 * 1024
BOUND = LogLimit(max_num_bytes=6 * MIB, num_head_bytes=1000)
LINE_BYTES = 100
NUM_LINES = 200_000
WRITER = f"""
import sys
for number in range({NUM_LINES}):
    print(f"{{number:07}}".ljust({LINE_BYTES - 1}, "x"))
"""


def lines(begin: int, end: int) -> bytes:
    text = (f"{number:07}".ljust(LINE_BYTES - 1, "x") for number in range(begin, end))
    return "".join(f"{line}\n" for line in text).encode()


def read(path: Path, num_lines: int | None = None) -> bytes:
    async def collect() -> bytes:
        pieces = stream_log(lambda: path, num_lines=num_lines, is_over=None)
        return b"".join([piece async for piece in pieces])

    return asyncio.run(collect())


def on_disk(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_what_is_small_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert not truncate_log(log, BOUND)
    assert not log.exists()
    log.write_bytes(lines(0, 50_000))
    assert not truncate_log(log, BOUND)
    assert log.read_bytes() == lines(0, 50_000)


def test_head_and_tail_stay_and_a_line_tells_what_went(tmp_path: Path) -> None:
    log = tmp_path / "log"
    content = lines(0, 100_000)
    log.write_bytes(content)
    assert truncate_log(log, BOUND)
    assert not truncate_log(log, BOUND)
    assert on_disk(log) < BOUND.max_num_bytes
    told = read(log)
    head, _, rest = told.partition(b"\n[")
    note, _, tail = rest.partition(b"]\n")
    assert b"MiB truncated" in note
    assert b"\0" not in told
    assert content.startswith(head)
    assert len(head) >= BOUND.num_head_bytes
    assert content.endswith(tail)
    assert len(tail) >= BOUND.num_tail_bytes
    assert read(log, 3) == lines(99_997, 100_000)
    assert read(log, 10**6) == tail  # and not the hole, however many are asked for


def test_a_log_is_bounded_again_and_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for begin in range(0, 300_000, 50_000):
        with log.open("ab") as file:
            file.write(lines(begin, begin + 50_000))
        truncate_log(log, BOUND)
        assert on_disk(log) <= BOUND.max_num_bytes
    told = read(log)
    assert told.startswith(lines(0, 10))
    assert told.endswith(lines(280_000, 300_000))
    assert told.count(b"truncated") == 1


def test_a_writer_loses_no_line_and_a_follower_misses_none(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", WRITER]
    env = dict(os.environ)
    handle = start_group(command, name="writer", env=env, folder=tmp_path, log=log)
    num_bounds = 0

    async def follow() -> bytes:
        pieces = stream_log(lambda: log, num_lines=None, is_over=lambda: not is_alive(handle))
        return b"".join([piece async for piece in pieces])

    async def bound() -> None:
        nonlocal num_bounds
        while is_alive(handle):
            num_bounds += await asyncio.to_thread(truncate_log, log, BOUND)
            await asyncio.sleep(0.005)

    async def both() -> bytes:
        followed, _ = await asyncio.gather(follow(), bound())
        return followed

    followed = asyncio.run(both())
    truncate_log(log, BOUND)
    assert num_bounds > 0
    assert on_disk(log) <= BOUND.max_num_bytes + MIB
    assert log.stat().st_size == NUM_LINES * LINE_BYTES  # all that was written has its place
    end = lines(NUM_LINES - 20_000, NUM_LINES)
    assert read(log).endswith(end)
    # A follower who keeps up gets all of it; one who does not is told what he missed.
    assert followed.endswith(end)
    if b"truncated" not in followed:
        assert followed == lines(0, NUM_LINES)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(lines(0, 100_000))
    (tmp_path / "log").symlink_to(other)
    with suppress(OSError):
        truncate_log(tmp_path / "log", BOUND)
    assert other.read_bytes() == lines(0, 100_000)
