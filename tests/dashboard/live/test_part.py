"""A live part over data that the test changes."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from headrace.control.errors import NotFoundError, StoreError
from headrace.dashboard.live.part import LivePart, Values
from headrace.dashboard.rendering import LiveContent

TIMEOUT_S = 30.0


@dataclass
class Source:
    """Data, and how often it was read and rendered."""

    values: dict[str, Any] = field(default_factory=lambda: {"text": "first"})
    error: Exception | None = None
    is_ending: bool = False
    num_reads: int = 0
    num_renderings: int = 0

    async def read(self) -> Values:
        self.num_reads += 1
        if self.error is not None:
            raise self.error
        return dict(self.values)

    def render(self, values: Values) -> LiveContent:
        self.num_renderings += 1
        return LiveContent.of(f"<p>{values['text']}</p>")

    def part(self, interval_s: float = 0.001) -> LivePart:
        return LivePart(
            self.read, self.render, interval_s=interval_s, is_ending=lambda: self.is_ending
        )


def on_part(
    check: Callable[[Source, LivePart], Awaitable[None]], interval_s: float = 0.001
) -> None:
    """Runs ``check`` beside the part."""

    async def run() -> None:
        source = Source()
        part = source.part(interval_s)
        task = asyncio.create_task(part.run())
        try:
            await asyncio.wait_for(check(source, part), TIMEOUT_S)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


async def read_once(part: LivePart) -> None:
    while part.content is None:
        await asyncio.sleep(0)


async def ended(part: LivePart) -> None:
    while not part.is_over:
        await asyncio.sleep(0)


async def reads(source: Source, num: int) -> None:
    end = source.num_reads + num
    while source.num_reads < end:
        await asyncio.sleep(0)


def test_unchanged_data_is_rendered_once() -> None:
    async def check(source: Source, part: LivePart) -> None:
        await read_once(part)
        changed = part.changed
        await reads(source, 5)
        assert source.num_renderings == 1
        assert not changed.is_set()
        assert part.content is not None
        assert part.content.html == "<p>first</p>"

    on_part(check)


def test_changed_data_is_rendered_and_wakes_viewers() -> None:
    async def check(source: Source, part: LivePart) -> None:
        await read_once(part)
        before = part.content
        changed = part.changed
        source.values = {"text": "second"}
        await changed.wait()
        assert part.content is not None
        assert before is not None
        assert part.content.html == "<p>second</p>"
        assert part.content.digest != before.digest

    on_part(check)


def test_data_that_looks_the_same_wakes_no_viewer() -> None:
    async def check(source: Source, part: LivePart) -> None:
        await read_once(part)
        changed = part.changed
        source.values = {"text": "first", "not shown": 1}
        while source.num_renderings < 2:
            await asyncio.sleep(0)
        assert not changed.is_set()

    on_part(check)


def test_a_missing_resource_ends_the_part_with_its_message() -> None:
    async def check(source: Source, part: LivePart) -> None:
        await read_once(part)
        changed = part.changed
        source.error = NotFoundError("Run 'x' not found.")
        await changed.wait()
        assert part.is_over
        assert part.missing == "Run 'x' not found."

    on_part(check)


def test_any_other_error_ends_the_part() -> None:
    for error in (StoreError("The database is locked."), ValueError("a bug")):

        async def check(source: Source, part: LivePart, error: Exception = error) -> None:
            source.error = error
            await ended(part)
            assert part.missing == ""

        on_part(check)


def test_a_shutdown_ends_the_part_though_its_next_read_is_far_away() -> None:
    async def check(source: Source, part: LivePart) -> None:
        await read_once(part)
        changed = part.changed
        source.is_ending = True
        await changed.wait()
        assert part.is_over
        assert source.num_reads == 1

    on_part(check, interval_s=3600)
