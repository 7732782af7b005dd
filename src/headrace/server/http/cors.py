"""CORS: which web pages may read responses and send non-simple requests.

Preflight requests are answered before authentication, because browsers send no credentials with
them.
"""

from collections.abc import Callable, Collection

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from headrace.listen.origins import ANY, OriginPolicy
from headrace.server.config import ServerConfig
from headrace.server.http.errors import ApiError, ErrorCode, to_response

EXPOSED_HEADERS = ("X-Request-Id", "Retry-After")
"""Response headers that a page may read."""


class CorsMiddleware:
    """Allows the origins of ``--allowed-origins``.

    Without that option: every origin on routes that require an API key, else origins on loopback.
    Without API keys, origins on loopback and on ``--allowed-hosts`` are always allowed, as
    OriginGuard accepts their requests.
    """

    def __init__(self, app: ASGIApp, config: ServerConfig, open_paths: frozenset[str]) -> None:
        """open_paths: need no key."""
        self._app = app
        self._open_paths = open_paths
        accepts_origin = OriginPolicy(config.allowed_hosts, config.allowed_origins).accepts_origin
        listed = [origin.rstrip("/").lower() for origin in config.allowed_origins]
        if not config.api_key:
            self._open = self._protected = _Cors(app, config, listed, accepts_origin)
        elif listed:
            self._open = self._protected = _Cors(app, config, listed)
        else:
            self._open = _Cors(app, config, (), accepts_origin)
            self._protected = _Cors(app, config, (ANY,))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        # Requests without Origin skip the wrapper around each sent event.
        if any(name == b"origin" for name, _ in scope.get("headers", ())):
            app = self._open if scope["path"] in self._open_paths else self._protected
        await app(scope, receive, send)


class _Cors(CORSMiddleware):
    """Starlette's CORS middleware with errors in OpenAI's format."""

    def __init__(
        self,
        app: ASGIApp,
        config: ServerConfig,
        origins: Collection[str],
        accepts_origin: Callable[[str], bool] | None = None,
    ) -> None:
        """accepts_origin: replaces the list of origins, unless the list contains ``*``."""
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=[method.upper() for method in config.allowed_methods],
            allow_headers=config.allowed_headers,
            allow_credentials=config.allow_credentials,
            expose_headers=EXPOSED_HEADERS,
        )
        self._accepts_origin = accepts_origin or super().is_allowed_origin

    def is_allowed_origin(self, origin: str) -> bool:
        return self._accepts_origin(origin)

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        refused = ApiError(ErrorCode.CORS_NOT_ALLOWED, bytes(response.body).decode())
        refused.headers = {
            name: value
            for name, value in response.headers.items()
            if name.startswith("access-control-") or name == "vary"
        }
        return to_response(refused)
