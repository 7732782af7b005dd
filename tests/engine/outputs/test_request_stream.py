"""A stream yields deltas in order, and ends when its choices have ended."""

import asyncio

import pytest

from headrace.core.errors import EngineDeadError
from headrace.core.generation.outputs import ChoiceDelta, FinishReason
from headrace.engine.outputs.request_stream import RequestStream


def delta(index: int, text: str, finish_reason: FinishReason | None = None) -> ChoiceDelta:
    return ChoiceDelta(index, text, [1], finish_reason=finish_reason)


def make_stream(num_choices: int = 1) -> tuple[RequestStream, list[str]]:
    closed: list[str] = []
    return RequestStream("r", num_choices, lambda stream: closed.append(stream.request_id)), closed


async def texts(stream: RequestStream) -> list[str]:
    return [delta.text async for delta in stream]


def test_it_ends_when_every_choice_has_ended() -> None:
    async def test() -> None:
        stream, closed = make_stream(2)
        reading = asyncio.create_task(texts(stream))
        await asyncio.sleep(0)
        stream.push(delta(0, "a"))
        stream.push(delta(1, "b", FinishReason.STOP))
        assert stream.num_unfinished_choices == 1
        assert not stream.finished
        await asyncio.sleep(0)
        assert not reading.done()
        stream.push(delta(0, "c", FinishReason.LENGTH))
        assert stream.finished
        assert await reading == ["a", "b", "c"]
        await stream.aclose()
        assert closed == []

    asyncio.run(test())


def test_closing_early_notifies_the_owner_once() -> None:
    async def test() -> None:
        stream, closed = make_stream()
        async with stream:
            stream.push(delta(0, "a"))
            async for _ in stream:
                break
        await stream.aclose()
        assert closed == ["r"]
        assert await texts(stream) == []

    asyncio.run(test())


def test_closing_wakes_a_reader() -> None:
    async def test() -> None:
        stream, closed = make_stream()
        reading = asyncio.create_task(texts(stream))
        await asyncio.sleep(0)
        await stream.aclose()
        assert await reading == []
        assert closed == ["r"]

    asyncio.run(test())


def test_an_error_is_raised_after_unread_deltas() -> None:
    async def test() -> None:
        stream, closed = make_stream()
        stream.push(delta(0, "a"))
        stream.fail(EngineDeadError("gone"))
        assert (await anext(stream)).text == "a"
        with pytest.raises(EngineDeadError, match="gone"):
            await anext(stream)
        await stream.aclose()
        assert closed == []

    asyncio.run(test())


def test_an_abort_ends_each_unfinished_choice() -> None:
    async def test() -> None:
        stream, _ = make_stream(3)
        stream.push(delta(1, "a", FinishReason.STOP))
        stream.abort()
        ends = [(d.index, d.finish_reason) async for d in stream]
        assert ends == [
            (1, FinishReason.STOP),
            (0, FinishReason.ABORT),
            (2, FinishReason.ABORT),
        ]

    asyncio.run(test())


def test_a_cancelled_reader_can_resume() -> None:
    async def test() -> None:
        stream, _ = make_stream()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await anext(stream)
        stream.push(delta(0, "a", FinishReason.STOP))
        assert await texts(stream) == ["a"]

    asyncio.run(test())
