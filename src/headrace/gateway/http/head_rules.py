"""Rejects request heads that two servers might interpret differently (request smuggling).

The parser has rejected what RFC 9112 forbids; this rejects what it allows and is still ambiguous.
"""

import re

from headrace.gateway import errors
from headrace.gateway.errors import ErrorResponse
from headrace.gateway.http.http_request import MAX_JOINED_BYTES, Request

_is_host = re.compile(rb"[-A-Za-z0-9._~%!$&'()*+;=:\[\]]*").fullmatch
"""Name or address, and port; no comma, which would join several Host headers."""


def check_head(request: Request, version: str) -> ErrorResponse | None:
    """Why the request is rejected, or None; ``version``: of HTTP, as the parser returns it."""
    if version not in ("1.1", "1.0"):
        return errors.invalid_http(f"HTTP/{version} is not supported")
    if request.repeats_too_much:
        return errors.head_too_large(MAX_JOINED_BYTES)
    host = request.inspected.get(b"host")
    if host is None:
        if version == "1.1":
            return errors.invalid_http("it has no Host header")
    elif _is_host(host) is None:
        return errors.invalid_http("its Host header is not exactly one host")
    coding = request.inspected.get(b"transfer-encoding")
    if coding is not None:
        if version == "1.0":
            return errors.invalid_http("HTTP/1.0 has no transfer codings")
        if coding.lower() != b"chunked":
            return errors.unsupported_transfer_coding()
    if not (request.target.startswith(b"/") or _is_other_target(request)):
        return errors.invalid_http("its target is neither a path nor a URL")
    return None


def _is_other_target(request: Request) -> bool:
    """Whether it is a URL with a host, or the ``*`` of ``OPTIONS *``."""
    if request.target == b"*":
        return request.method == b"OPTIONS"
    authority = request.authority
    return authority is not None and authority != b"" and _is_host(authority) is not None
