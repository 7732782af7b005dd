"""What both endpoints do to send their replies; the choices are their own."""

import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import orjson
from starlette.responses import Response

from headrace.server.chunks import ChunkWriter
from headrace.server.generation import Generation
from headrace.server.json_types import JsonObject
from headrace.server.sse import EventStream


def envelope(prefix: str, kind: str, model: str) -> JsonObject:
    """The beginning of every reply and chunk."""
    return {
        "id": f"{prefix}-{uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }


def stream(generation: Generation, writer: ChunkWriter) -> EventStream:
    """The reply to a request with stream: true."""
    return EventStream(_events(generation, writer), generation)


def json_response(content: Any) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")


async def _events(generation: Generation, writer: ChunkWriter) -> AsyncIterator[bytes]:
    async for delta in generation.deltas():
        yield writer.write(delta)
    yield writer.end()
