"""API key authentication of everything under /v1, and of endpoints elsewhere that compute.

/health, /version, /metrics and /openapi.json stay open for probes, Prometheus and tools. They
disclose no request data.
"""

import hashlib
import hmac

from starlette.types import ASGIApp, Receive, Scope, Send

from headrace.server.http.errors import invalid_api_key, to_response


class AuthMiddleware:
    """Requires ``Authorization: Bearer KEY`` with one of the keys; else 401."""

    def __init__(self, app: ASGIApp, api_keys: tuple[str, ...]) -> None:
        self._app = app
        # Digests have equal lengths, so the comparison leaks no key's length.
        self._digests = [_digest(key.encode()) for key in api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] == "http"
            and is_protected(scope["path"])
            and not self._is_authorized(scope)
        ):
            await to_response(invalid_api_key())(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_authorized(self, scope: Scope) -> bool:
        scheme, _, key = _authorization_header(scope).partition(b" ")
        if scheme.lower() != b"bearer":
            return False
        digest_sent = _digest(key.strip())
        matches = [hmac.compare_digest(digest_sent, digest) for digest in self._digests]
        return any(matches)


_PROTECTED = ("/v1", "/v2", "/pooling", "/classify", "/score", "/rerank")


def is_protected(path: str) -> bool:
    return any(path == each or path.startswith(f"{each}/") for each in _PROTECTED)


def _authorization_header(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"authorization":
            return bytes(value)
    return b""


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
