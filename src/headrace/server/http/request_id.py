"""The X-Request-Id header: the client's value or a generated one, echoed in every response.

The engine's request ids are separate: those must be unique, and clients may repeat theirs.
"""

import re
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ACCEPTED = re.compile(rb"[!-~]{1,256}")


class RequestIdMiddleware:
    """Sets scope["state"]["request_id"] and the response's X-Request-Id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _client_request_id(scope) or uuid4().hex.encode()
        scope.setdefault("state", {})["request_id"] = request_id.decode()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        await self._app(scope, receive, send_with_id)


def _client_request_id(scope: Scope) -> bytes | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _ACCEPTED.fullmatch(value):
            return bytes(value)
    return None
