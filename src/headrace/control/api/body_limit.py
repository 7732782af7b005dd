"""ASGI middleware that limits the size of request bodies, before they are read into memory."""

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 1024 * 1024
"""Enough for the longest manifest, and for the longest secret with every character escaped."""

TOO_LARGE = 413

_MAX_DISCARDED_BYTES = 16 * 1024 * 1024

Refuse = Callable[[int, str], ASGIApp]
"""Makes the error response for a status and a message."""


class BodyLimit:
    def __init__(self, app: ASGIApp, refuse: Refuse, max_num_bytes: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._refuse = refuse
        self._max_num_bytes = max_num_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > self._max_num_bytes:
            await _discard(receive)
            await self._refuse(TOO_LARGE, self._message())(scope, receive, send)
            return
        num_bytes = 0

        async def receive_some() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if num_bytes > self._max_num_bytes:
                if message.get("more_body", False):
                    await _discard(receive)
                raise HTTPException(TOO_LARGE, self._message())
            return message

        await self._app(scope, receive_some, send)

    def _message(self) -> str:
        return f"The request body is larger than {self._max_num_bytes} bytes."


async def _discard(receive: Receive) -> None:
    """Read and drop what the client is still sending: it would otherwise see a connection reset
    instead of the response."""
    num_bytes = 0
    while num_bytes < _MAX_DISCARDED_BYTES:
        message = await receive()
        num_bytes += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            return
