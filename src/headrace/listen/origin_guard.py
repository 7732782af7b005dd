"""ASGI middleware that holds an OriginPolicy: a foreign Host gets 421, a foreign Origin 403."""

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from headrace.listen.origins import OriginPolicy, host_name

MISDIRECTED, FORBIDDEN = 421, 403

Refuse = Callable[[int, str], ASGIApp]
"""Makes the response of a status and a message, in the error format of the API behind it."""


class OriginGuard:
    """Passes on what the policy accepts. Only for servers that ask for no key."""

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
    """What to tell a client whose Host is refused."""
    return (
        f"Host {host_name(header)!r} is not allowed: this server accepts localhost and 127.0.0.1. "
        "Other names are added with --allowed-hosts."
    )


def origin_not_allowed(header: str) -> str:
    """What to tell a page whose Origin is refused."""
    return f"Origin {header!r} is not allowed. Origins are added with --allowed-origins."
