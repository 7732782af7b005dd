"""CORS: which web pages may read replies, and send requests that need a browser's consent.

Knows no keys and no routes. Preflights are answered here, before any key is asked for: browsers
send none with them.
"""

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from headrace.listen.origins import ANY, OriginPolicy
from headrace.server.config import ServerConfig
from headrace.server.errors import ApiError, to_response

EXPOSED_HEADERS = ("X-Request-Id", "Retry-After")
"""Headers of replies that a page may read."""


class CorsMiddleware(CORSMiddleware):
    """Starlette's, with the rules of a ServerConfig and errors in OpenAI's format.

    Without keys, what OriginPolicy accepts is allowed: loopback, and what the operator adds. With
    keys, the operator's origins alone, or any if none is given, as a page without a key gets
    nothing.
    """

    def __init__(self, app: ASGIApp, config: ServerConfig) -> None:
        origins = [origin.rstrip("/").lower() for origin in config.allowed_origins]
        if config.api_key and not origins:
            origins = [ANY]
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=config.allowed_methods,
            allow_headers=config.allowed_headers,
            allow_credentials=config.allow_credentials,
            expose_headers=EXPOSED_HEADERS,
        )
        policy = OriginPolicy(config.allowed_hosts, config.allowed_origins)
        self._accepts_origin: Callable[[str], bool] = (
            super().is_allowed_origin if config.api_key else policy.accepts_origin
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_from_page = any(name == b"origin" for name, _ in scope.get("headers", ()))
        # Only pages pay for a wrapper around each event that is sent.
        app = super().__call__ if is_from_page else self.app
        await app(scope, receive, send)

    def is_allowed_origin(self, origin: str) -> bool:
        return self._accepts_origin(origin)

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        refused = ApiError(400, bytes(response.body).decode(), code="cors_not_allowed")
        refused.headers = {
            name: value
            for name, value in response.headers.items()
            if name.startswith("access-control-") or name == "vary"
        }
        return to_response(refused)
