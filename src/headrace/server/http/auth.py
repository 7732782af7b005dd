"""Who may call: everything under /v1 asks for a key, if there are keys.

/health, /version, /metrics and /openapi.json are open, for probes, Prometheus and tools: none of
them shows anything of a request. Knows nothing of what the routes do.
"""

import hashlib
import hmac

from starlette.types import ASGIApp, Receive, Scope, Send

from headrace.server.http.errors import invalid_api_key, to_response


class AuthMiddleware:
    """Lets a request to /v1 through only with ``Authorization: Bearer`` and one of the keys."""

    def __init__(self, app: ASGIApp, api_keys: tuple[str, ...]) -> None:
        self._app = app
        # Digests are of one length, so that comparing them tells nothing of the keys' lengths.
        self._digests = [_digest(key.encode()) for key in api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and is_protected(scope["path"]) and not self._knows(scope):
            await to_response(invalid_api_key())(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        scheme, _, key = _authorization(scope).partition(b" ")
        if scheme.lower() != b"bearer":
            return False
        given = _digest(key.strip())
        matches = [hmac.compare_digest(given, digest) for digest in self._digests]
        return any(matches)


def is_protected(path: str) -> bool:
    return path == "/v1" or path.startswith("/v1/")


def _authorization(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"authorization":
            return bytes(value)
    return b""


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
