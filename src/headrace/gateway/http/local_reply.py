"""The gateway's own answers to requests that are wrong as HTTP, or that no replica answered.

Knows no connections; `refusals` has those that come from routing.
"""

from headrace.gateway.http.cors import Preflight
from headrace.gateway.http.http_request import Request
from headrace.gateway.routing.decisions import Refused
from headrace.gateway.routing.refusals import error_body

OwnAnswer = Refused | Preflight

_REASONS = {
    204: b"No Content",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    408: b"Request Timeout",
    413: b"Content Too Large",
    421: b"Misdirected Request",
    422: b"Unprocessable Content",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
}


def answer_bytes(answer: OwnAnswer, request: Request, *, is_last: bool) -> bytes:
    """A whole HTTP answer."""
    pieces = [b"HTTP/1.1 %d %b" % (answer.status, _REASONS.get(answer.status, b"Error"))]
    body = b""
    if isinstance(answer, Preflight):
        pieces.append(answer.headers)
    else:
        body = error_body(answer)
        pieces.append(b"\r\ncontent-type: application/json\r\ncontent-length: %d" % len(body))
        if answer.retry_after_s is not None:
            pieces.append(b"\r\nretry-after: %d" % answer.retry_after_s)
        if answer.status == 401:
            pieces.append(b"\r\nwww-authenticate: Bearer")
    pieces.append(request.answer_headers)
    if is_last:
        pieces.append(b"\r\nconnection: close")
    pieces.append(b"\r\n\r\n")
    if not request.is_head:
        pieces.append(body)
    return b"".join(pieces)


def error_event(refused: Refused) -> bytes:
    """The same as the last event of a stream that has begun."""
    return b"data: %b\n\n" % error_body(refused)


def not_http(why: str = "") -> Refused:
    message = "This is not a valid HTTP/1.1 request"
    return Refused(400, "invalid_http", f"{message}: {why}." if why else f"{message}.")


def unsupported_transfer_coding() -> Refused:
    return Refused(
        501,
        "unsupported_transfer_coding",
        "The gateway knows no transfer coding but 'chunked'. Compress with Content-Encoding, "
        "or not at all.",
    )


def head_too_large(max_num_bytes: int) -> Refused:
    return Refused(
        431,
        "head_too_large",
        f"The request's headers are longer than {max_num_bytes} bytes. Send fewer or shorter ones.",
    )


def body_too_large(max_num_bytes: int) -> Refused:
    return Refused(
        413,
        "body_too_large",
        f"The request's body is longer than {max_num_bytes} bytes, which this service allows. "
        "Shorten it, or raise the gateway's limit on the body.",
    )


def request_too_slow() -> Refused:
    return Refused(
        408, "request_timeout", "The rest of the request did not come in time. Send it again."
    )


def no_websockets() -> Refused:
    return Refused(
        501,
        "unsupported_upgrade",
        "The gateway speaks HTTP/1.1 only, without websockets and tunnels. "
        "Use plain requests; streams come as server-sent events.",
    )


def upstream_failed(service: str) -> Refused:
    """No answer had begun, and it may not be tried again."""
    return Refused(
        502,
        "upstream_failed",
        f"The replica of service {service} ended before it answered, and no other one may take "
        f"the request. Send it again, or see 'headrace service read {service}'.",
        "server_error",
    )


def upstream_cut() -> Refused:
    """An answer had begun."""
    return Refused(
        502,
        "upstream_cut",
        "The replica ended in the middle of this answer, which is not complete. "
        "Send the request again.",
        "server_error",
    )


def upstream_timeout(what: str, limit_s: float) -> Refused:
    return Refused(
        504,
        "upstream_timeout",
        f"The {what} took longer than {limit_s:g} s, which this service allows. "
        "Ask for less at once, or raise the gateway's limit on time.",
        "server_error",
    )
