"""ASGI middleware that enforces an OriginPolicy: 421 for a Host, 403 for an Origin not allowed."""

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from headrace.listen.origins import OriginPolicy, host_name

MISDIRECTED, FORBIDDEN = 421, 403

Refuse = Callable[[int, str], ASGIApp]
"""Makes an error response from a status and a message, in the API's error format."""


class OriginGuard:
    """Forwards accepted requests. For servers without authentication."""

    def __init__(self, app: ASGIApp, policy: OriginPolicy, refuse: Refuse) -> None:
        self._app = app
        self._policy = policy
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            host, origin = headers.get("host"), headers.get("origin")
            if not self._policy.accepts_host(host):
                app = self._refuse(MISDIRECTED, host_not_allowed(host or ""))
            elif not self._policy.accepts_origin(origin):
                app = self._refuse(FORBIDDEN, origin_not_allowed(origin or ""))
        await app(scope, receive, send)


def host_not_allowed(header: str) -> str:
    """The error message for a refused Host header."""
    return (
        f"Host {host_name(header)!r} is not allowed: only localhost and loopback addresses are. "
        "Add other names with --allowed-hosts."
    )


def origin_not_allowed(header: str) -> str:
    """The error message for a refused Origin header."""
    return f"Origin {header!r} is not allowed. Add it with --allowed-origins."
