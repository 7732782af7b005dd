"""Refuses requests that a page of another host made a browser send here (DNS rebinding).

Such a page's own host name leads to this machine, and its requests say so in their Host header.
Knows no route and no token.
"""

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


class LoopbackOnly:
    """ASGI middleware: what was not sent to a name of loopback gets 421."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            host = _host_of(Headers(scope=scope).get("host", ""))
            if host not in _HOSTS:
                message = f"This is not {host or 'what you look for'}: the API is at 127.0.0.1."
                answer = JSONResponse({"error": {"message": message, "code": 421}}, 421)
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _host_of(header: str) -> str:
    """The name alone, of ``NAME``, ``NAME:PORT`` or ``[ADDRESS]:PORT``."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].rstrip(".").lower()
