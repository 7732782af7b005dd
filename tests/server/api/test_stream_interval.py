"""Chunks of several tokens join to the same answer."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.errors import RequestFailedError
from headrace.core.generation.outputs import ChoiceDelta, FinishReason, TokenLogprobs
from headrace.server.api.stream_interval import in_intervals

DELTAS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), max_size=30)


async def collect(
    deltas: list[ChoiceDelta], interval: int, *, fails: bool = False
) -> list[ChoiceDelta]:
    async def arrive() -> AsyncIterator[ChoiceDelta]:
        for delta in deltas:
            yield delta
        if fails:
            raise RequestFailedError("no")

    joined = []
    try:
        async for delta in in_intervals(arrive(), interval):
            joined.append(delta)  # noqa: PERF401 - keeps what came before an error
    except RequestFailedError:
        assert fails
    return joined


def token_ids_of(deltas: list[ChoiceDelta], index: int) -> list[int]:
    return [each for delta in deltas if delta.index == index for each in delta.token_ids]


@given(DELTAS, st.integers(1, 6), st.booleans(), st.booleans())
def test_no_token_is_lost_or_moved(
    parts: list[tuple[int, int]], interval: int, ends: bool, with_logprobs: bool
) -> None:
    deltas = []
    for number, (index, count) in enumerate(parts):
        ids = [number] * count
        entries = [TokenLogprobs(each, -1.0, 1, ()) for each in ids] if with_logprobs else None
        deltas.append(ChoiceDelta(index, f"<{number}>", ids, entries))
    if ends:
        deltas += [
            ChoiceDelta(index, "", [], finish_reason=FinishReason.LENGTH) for index in range(3)
        ]
    joined = asyncio.run(collect(deltas, interval, fails=not ends))
    for index in range(3):
        mine = [delta for delta in joined if delta.index == index]
        assert token_ids_of(joined, index) == token_ids_of(deltas, index)
        text = "".join(delta.text for delta in deltas if delta.index == index)
        assert "".join(delta.text for delta in mine) == text
        for delta in mine[1:-1]:
            assert len(delta.token_ids) >= interval
        if with_logprobs:
            entries = [entry.token_id for delta in mine for entry in delta.logprobs or []]
            assert entries == token_ids_of(joined, index)


@pytest.mark.parametrize("path", ["completions", "chat"])
def test_a_stream_has_a_chunk_for_each_interval(client: openai.OpenAI, path: str) -> None:
    text = "0123456789abcdef"
    arguments: dict[str, Any] = {"model": "parrot", "max_tokens": 16, "stream": True}
    arguments["extra_body"] = {"stream_interval": 5}
    if path == "completions":
        chunks = client.completions.create(prompt=text, **arguments)
        pieces = [chunk.choices[0].text for chunk in chunks]
    else:
        messages = [{"role": "user", "content": text}]
        chunks = client.chat.completions.create(messages=messages, **arguments)
        pieces = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert [piece for piece in pieces if piece] == ["0", "12345", "6789a", "bcdef"]
