"""API key authentication of every path but the open ones (Endpoint.is_open).

Those stay open for probes, Prometheus and tools. They disclose no request data.
"""

import hashlib
import hmac

from starlette.types import ASGIApp, Receive, Scope, Send

from headrace.server.http.errors import invalid_api_key, to_response


class AuthMiddleware:
    """Requires one of the keys as ``Authorization: Bearer KEY`` or ``x-api-key: KEY``; else 401."""

    def __init__(self, app: ASGIApp, api_keys: tuple[str, ...], open_paths: frozenset[str]) -> None:
        """open_paths: need no key. Paths without a route do."""
        self._app = app
        self._open_paths = open_paths
        # Digests have equal lengths, so the comparison leaks no key's length.
        self._digests = [_digest(key.encode()) for key in api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in self._open_paths:
            accepted = self._accepted(scope)
            if accepted is None:
                refusal = to_response(invalid_api_key(), scope["path"])
                await refusal(scope, receive, send)
                return
            scope.setdefault("state", {})["key_digest"] = accepted
        await self._app(scope, receive, send)

    def _accepted(self, scope: Scope) -> bytes | None:
        """The digest of the key that the request has; None: it has no valid one."""
        accepted = None
        for key in _keys_of(scope):
            sent = _digest(key)
            for digest in self._digests:
                if hmac.compare_digest(sent, digest):
                    accepted = digest
        return accepted


def key_digest(scope: Scope) -> bytes:
    """Tells the API key of a request from others; empty if the server has no keys."""
    digest: bytes = scope.get("state", {}).get("key_digest", b"")
    return digest


def _keys_of(scope: Scope) -> list[bytes]:
    """The first of each header, as sent."""
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in (b"authorization", b"x-api-key"):
            found.setdefault(name, value)
    scheme, _, key = found.pop(b"authorization", b"").partition(b" ")
    bearer = [key.strip()] if scheme.lower() == b"bearer" else []
    return [*bearer, *(value.strip() for value in found.values())]


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
