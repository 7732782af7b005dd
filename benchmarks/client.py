"""A light HTTP client for streamed completions, which notes when each event came.

Knows nothing of workloads. It shares the processor with the server that it measures, so while
answers stream in it only splits lines and reads the clock; JSON is parsed when the run is over.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httptools
import orjson


class BadReplyError(Exception):
    """An answer that cannot be counted: a run with one is no measurement."""


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int

    def __str__(self) -> str:
        return f"http://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class RawReply:
    """A stream as it came. All times are of time.perf_counter, in seconds."""

    sent_s: float
    """Before the connection was opened: each request has a new one."""
    ended_s: float
    event_times_s: list[float]
    events: list[bytes]
    """The lines that begin with "data:", one for each time."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A stream, understood and found whole."""

    sent_s: float
    ended_s: float
    token_times_s: list[float]
    """When events with tokens came; fewer than num_output_tokens where one event has several."""
    num_prompt_tokens: int
    num_output_tokens: int
    num_cached_tokens: int | None
    """Prompt tokens from the server's prefix cache; None when it does not say."""


async def run_requests(address: Address, bodies: Sequence[bytes], concurrency: int) -> list[Reply]:
    """Send all, ``concurrency`` under way at a time; replies are in the order of ``bodies``.

    Raises BadReplyError at the first answer that is not 200, and at the end for streams that lack
    something.
    """
    raw: dict[int, RawReply] = {}
    waiting = iter(enumerate(bodies))

    async def work() -> None:
        for index, body in waiting:
            raw[index] = await _complete(address, body)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(bodies))):
                group.create_task(work())
    except* (BadReplyError, OSError) as failures:
        first = failures.exceptions[0]
        raise BadReplyError(str(first) or type(first).__name__) from first
    return [_understand(raw[index]) for index in range(len(bodies))]


async def _complete(address: Address, body: bytes) -> RawReply:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    head = (
        f"POST /v1/completions HTTP/1.1\r\nhost: {address.host}:{address.port}\r\n"
        "content-type: application/json\r\naccept: text/event-stream\r\nconnection: close\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode()
    sent_s = time.perf_counter()
    transport, exchange = await loop.create_connection(
        lambda: _Exchange(done), address.host, address.port
    )
    try:
        transport.write(head + body)
        await done
    finally:
        transport.abort()
    if exchange.status != 200:
        text = bytes(exchange.refusal).decode(errors="replace").strip()
        raise BadReplyError(f"answered {exchange.status or 'nothing'}: {text[:1000]}")
    return RawReply(sent_s, exchange.now_s, exchange.event_times_s, exchange.events)


class _Exchange(asyncio.Protocol):
    """The answer to one request, on a connection of its own.

    ``done`` is set when the answer ends or the connection does. What a cut stream lacks is found
    in its events, afterwards.
    """

    def __init__(self, done: asyncio.Future[None]) -> None:
        self.status = 0
        self.refusal = bytearray()
        """The body, when the status is not 200."""
        self.events: list[bytes] = []
        self.event_times_s: list[float] = []
        self.now_s = 0.0
        """When the latest bytes came."""
        self._done = done
        self._parser = httptools.HttpResponseParser(self)
        self._rest = b""
        """The beginning of a line whose end has not come yet."""

    def data_received(self, data: bytes) -> None:
        self.now_s = time.perf_counter()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(BadReplyError(f"sent what is not HTTP: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None:
            self._end()
        else:
            self._fail(exc)

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        if self.status != 200:
            self.refusal += body
            return
        *lines, self._rest = (self._rest + body).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self.events.append(line)
                self.event_times_s.append(self.now_s)

    def on_message_complete(self) -> None:
        self._end()

    def _end(self) -> None:
        if not self._done.done():
            self._done.set_result(None)

    def _fail(self, error: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(error)


@dataclass(frozen=True, slots=True)
class _TokenEvent:
    time_s: float
    text: str
    ends: bool


def _understand(raw: RawReply) -> Reply:
    usage: dict[str, Any] | None = None
    events: list[_TokenEvent] = []
    is_done = False
    for time_s, line in zip(raw.event_times_s, raw.events, strict=True):
        data = line[len(b"data:") :].strip()
        if data == b"[DONE]":
            is_done = True
            continue
        chunk = _parse(data)
        if "error" in chunk:
            raise BadReplyError(f"broke off with an error: {data.decode(errors='replace')[:1000]}")
        usage = chunk.get("usage") or usage
        events += [
            _TokenEvent(time_s, choice.get("text") or "", choice.get("finish_reason") is not None)
            for choice in chunk.get("choices") or ()
        ]
    if usage is None or not is_done:
        missing = "usage" if usage is None else "[DONE]"
        last = raw.events[-1].decode(errors="replace")[:300] if raw.events else "nothing"
        raise BadReplyError(f"a stream ended without {missing}; its last event: {last}")
    num_output_tokens = int(usage["completion_tokens"])
    times_s = _token_times(events, num_output_tokens)
    if not times_s:
        raise BadReplyError("a stream had no event with a token")
    details = usage.get("prompt_tokens_details") or {}
    return Reply(
        raw.sent_s,
        raw.ended_s,
        times_s,
        num_prompt_tokens=int(usage["prompt_tokens"]),
        num_output_tokens=num_output_tokens,
        num_cached_tokens=details.get("cached_tokens"),
    )


def _parse(data: bytes) -> dict[str, Any]:
    try:
        chunk = orjson.loads(data)
    except orjson.JSONDecodeError:
        chunk = None
    if not isinstance(chunk, dict):
        raise BadReplyError(f"an event is no JSON object: {data.decode(errors='replace')[:300]}")
    return chunk


def _token_times(events: list[_TokenEvent], num_tokens: int) -> list[float]:
    """Times of the events that brought tokens.

    An event without text may still be a token (half a character), so events are left out only
    where there are more of them than tokens: one that does nothing but end, then empty openings.
    """
    kept = list(events)
    if len(kept) > num_tokens and kept[-1].ends and not kept[-1].text:
        kept.pop()
    while len(kept) > num_tokens and not kept[0].text:
        kept.pop(0)
    if len(kept) > num_tokens:
        raise BadReplyError(
            f"a stream had {len(kept)} events with tokens, but its usage says {num_tokens} tokens"
        )
    return [event.time_s for event in kept]
