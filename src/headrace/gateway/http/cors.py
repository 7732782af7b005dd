"""CORS: the response headers that allow web pages to read responses, and preflight responses.

The options are the same as vLLM's.
"""

from __future__ import annotations

from dataclasses import dataclass

from headrace.gateway.http.http_request import Request
from headrace.listen.origins import ANY

ALL_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
MAX_AGE_S = 600
"""How long a browser may cache the response to a preflight."""

_ASKED_METHOD = b"access-control-request-method"
_ASKED_HEADERS = b"access-control-request-headers"


@dataclass(frozen=True, slots=True)
class PreflightResponse:
    """Allows a page to send the request that its browser asked about."""

    headers: bytes
    """Each after a line end."""
    status = 204


@dataclass(frozen=True, slots=True)
class CorsOptions:
    """What pages of the allowed origins may do; ``*``: everything."""

    allowed_methods: tuple[str, ...] = (ANY,)
    allowed_headers: tuple[str, ...] = (ANY,)
    allow_credentials: bool = False
    """Cookies and HTTP authentication that the browser adds."""


class Cors:
    """The CORS policy of one gateway."""

    def __init__(self, options: CorsOptions) -> None:
        methods = ALL_METHODS if ANY in options.allowed_methods else options.allowed_methods
        self._methods = b"\r\naccess-control-allow-methods: " + ", ".join(methods).encode()
        self._allows_any_header = ANY in options.allowed_headers
        self._headers = ", ".join(options.allowed_headers).encode("latin-1", "replace")
        self._allows_credentials = options.allow_credentials

    def response_headers(self, origin: bytes, every_origin: bool) -> bytes:
        """Of a response that pages of this origin may read; ``every_origin``: all pages may."""
        if self._allows_credentials:  # browsers do not accept * then
            return (
                b"\r\naccess-control-allow-origin: %b\r\naccess-control-allow-credentials: true"
                b"\r\nvary: Origin" % origin
            )
        allowed = b"*" if every_origin else origin
        return b"\r\naccess-control-allow-origin: %b\r\nvary: Origin" % allowed

    def preflight(self, request: Request) -> PreflightResponse:
        """Its headers are added to the `response_headers`."""
        headers = self._headers
        if self._allows_any_header:
            # Listed one by one, since * does not include Authorization.
            headers = request.header(_ASKED_HEADERS) or b""
        lines = self._methods
        if headers:
            lines += b"\r\naccess-control-allow-headers: " + headers
        return PreflightResponse(lines + b"\r\naccess-control-max-age: %d" % MAX_AGE_S)


def is_preflight(request: Request) -> bool:
    return (
        request.method == b"OPTIONS"
        and request.origin is not None
        and request.header(_ASKED_METHOD) is not None
    )
