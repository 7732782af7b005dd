"""Server-sent events with the current state of a part of a page.

| event | id | data |
|---|---|---|
| ``part`` | digest of the part | its HTML |
| ``current`` | | none: the browser has it already |
| ``missing`` | | message: what it shows no longer exists |
| ``signed-out`` | | the address of the sign-in page |

A stream that ends otherwise is to be opened again.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from fastapi import HTTPException, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from headrace.control.api.context import context_of
from headrace.dashboard.access.guard import Visitor, is_signed_in
from headrace.dashboard.live.part import LivePart, Read, Values
from headrace.dashboard.rendering import renderer_of
from headrace.dashboard.urls import url

LIVE_INTERVAL_S = 1.0
"""How often the data of a part is read, if that is fast."""
HEARTBEAT_S = 15.0
"""How often an idle stream sends a comment, and whether its session is still valid is checked."""
MAX_NUM_STREAMS = 256

_MEDIA_TYPE = "text/event-stream"


@dataclass(frozen=True, slots=True)
class ViewerKind:
    """All that a template of a live part may know of who sees it."""

    is_admin: bool


@dataclass(frozen=True, slots=True)
class _PartKey:
    """Who has the same key shares the part."""

    path: str
    query: tuple[tuple[str, str], ...]
    viewer: ViewerKind


@dataclass(slots=True)
class _Watched:
    part: LivePart
    task: asyncio.Task[None]
    num_viewers: int = 0


@dataclass(slots=True)
class LiveParts:
    """The parts that are being watched. Used by one event loop."""

    max_num_streams: int = MAX_NUM_STREAMS
    watched: dict[_PartKey, _Watched] = field(default_factory=dict)

    @property
    def num_streams(self) -> int:
        return sum(one.num_viewers for one in self.watched.values())

    def enter(self, key: _PartKey, make: Callable[[], LivePart]) -> LivePart:
        """The part with this key, for one more viewer. One that is over is made again."""
        found = self.watched.get(key)
        if found is None or found.part.is_over:
            part = make()
            found = self.watched[key] = _Watched(part, asyncio.create_task(part.run()))
        found.num_viewers += 1
        return found.part

    def leave(self, key: _PartKey, part: LivePart) -> None:
        """For one viewer less. The last one's part is read no more."""
        found = self.watched.get(key)
        if found is None or found.part is not part:
            return
        found.num_viewers -= 1
        if found.num_viewers == 0:
            found.task.cancel()
            del self.watched[key]


def threaded(read: Callable[[], Values]) -> Read:
    """``read`` in a thread, for functions that query the store."""

    async def read_in_thread() -> Values:
        return await run_in_threadpool(read)

    return read_in_thread


def follow_part(
    request: Request, template: str, read: Read, *, interval_s: float = LIVE_INTERVAL_S
) -> Response:
    """The events of the part that ``live(template, address)`` put into a page.

    Viewers of one address share it, so its template may use ``visitor.is_admin`` and nothing else
    of the visitor. Raises 503 if there are too many streams.
    """
    parts: LiveParts = request.app.state.live_parts
    if parts.num_streams >= parts.max_num_streams:
        raise HTTPException(503, f"Too many pages are open (maximum {parts.max_num_streams}).")
    visitor: Visitor = request.state.visitor
    viewer = ViewerKind(visitor.is_admin)
    query = [pair for pair in request.query_params.multi_items() if pair[0] != "seen"]
    key = _PartKey(request.url.path, tuple(sorted(query)), viewer)
    renderer = renderer_of(request)

    def make() -> LivePart:
        return LivePart(
            read,
            lambda values: renderer.part(template, viewer, values),
            interval_s=interval_s,
            is_ending=context_of(request).is_ending,
        )

    async def is_valid() -> bool:
        return await run_in_threadpool(is_signed_in, request)

    return _LiveResponse(parts, key, make, request.query_params.get("seen", ""), is_valid)


def signed_out_event() -> Response:
    """For a browser without a session."""
    return Response(_event("signed-out", url("sign-in")), media_type=_MEDIA_TYPE)


class _LiveResponse(StreamingResponse):
    def __init__(
        self,
        parts: LiveParts,
        key: _PartKey,
        make: Callable[[], LivePart],
        seen: str,
        is_valid: Callable[[], Awaitable[bool]],
    ) -> None:
        super().__init__((), media_type=_MEDIA_TYPE, headers={"X-Accel-Buffering": "no"})
        self._parts = parts
        self._key = key
        self._make = make
        self._seen = seen
        self._is_valid = is_valid

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        part = self._parts.enter(self._key, self._make)
        try:
            self.body_iterator = _events(part, self._seen, self._is_valid)
            await super().__call__(scope, receive, send)
        finally:
            self._parts.leave(self._key, part)


async def _events(
    part: LivePart, seen: str, is_valid: Callable[[], Awaitable[bool]]
) -> AsyncIterator[bytes]:
    """``seen``: the digest of what the browser has. A browser that reads slowly gets the newest
    state only."""
    is_first = True
    while True:
        changed, content = part.changed, part.content
        if content is not None and (is_first or content.digest != seen):
            if not await is_valid():
                yield _event("signed-out", url("sign-in"))
                return
            is_new = content.digest != seen
            yield _event("part", content.html, content.digest) if is_new else _event("current")
            is_first, seen = False, content.digest
            continue
        if part.is_over:
            if part.missing:
                yield _event("missing", part.missing)
            return
        try:
            await asyncio.wait_for(changed.wait(), HEARTBEAT_S)
        except TimeoutError:
            if not await is_valid():
                yield _event("signed-out", url("sign-in"))
                return
            yield b":\n\n"


def _event(name: str, data: str = "", event_id: str = "") -> bytes:
    """Browsers ignore events without data."""
    lines = [f"event: {name}", *(f"data: {line}" for line in data.splitlines() or [""])]
    if event_id:
        lines.append(f"id: {event_id}")
    return ("\n".join(lines) + "\n\n").encode()
