"""What must hold of a request's head beyond its syntax, so that no replica can read it otherwise.

The parser has refused what RFC 9112 does not allow to be written; what is left here is what it
allows to be written and two servers may still understand differently. Knows no connections.
"""

import re

from headrace.gateway.http import local_reply
from headrace.gateway.http.http_request import MAX_JOINED_BYTES, Request
from headrace.gateway.routing.decisions import Refused

_is_host = re.compile(rb"[-A-Za-z0-9._~%!$&'()*+;=:\[\]]*").fullmatch
"""Name or address, and port; no comma, with which several Host headers would be joined."""


def refusal_of(request: Request, version: str) -> Refused | None:
    """Why nobody should be asked this; ``version``: of HTTP, as the parser tells it."""
    if version not in ("1.1", "1.0"):
        return local_reply.not_http(f"HTTP/{version} is not spoken here")
    if request.repeats_too_much:
        return local_reply.head_too_large(MAX_JOINED_BYTES)
    host = request.noted.get(b"host")
    if host is None:
        if version == "1.1":
            return local_reply.not_http("it has no Host header")
    elif _is_host(host) is None:
        return local_reply.not_http("it does not name one host")
    coding = request.noted.get(b"transfer-encoding")
    if coding is not None:
        if version == "1.0":
            return local_reply.not_http("HTTP/1.0 has no transfer codings")
        if coding.lower() != b"chunked":
            return local_reply.unsupported_transfer_coding()
    if not (request.target.startswith(b"/") or _is_other_target(request)):
        return local_reply.not_http("its target is neither a path nor a URL")
    return None


def _is_other_target(request: Request) -> bool:
    """Whether it is a URL with a host, or the ``*`` that asks for the server's options."""
    if request.target == b"*":
        return request.method == b"OPTIONS"
    authority = request.authority
    return authority is not None and authority != b"" and _is_host(authority) is not None
