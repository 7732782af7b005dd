"""The gateway's own responses as bytes: errors, and responses to CORS preflights."""

from headrace.gateway.errors import ErrorResponse, error_body
from headrace.gateway.http.cors import PreflightResponse
from headrace.gateway.http.http_request import Request

LocalReply = ErrorResponse | PreflightResponse

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


def local_reply_bytes(reply: LocalReply, request: Request, *, is_last: bool) -> bytes:
    """A whole HTTP response."""
    pieces = [b"HTTP/1.1 %d %b" % (reply.status, _REASONS.get(reply.status, b"Error"))]
    body = b""
    if isinstance(reply, PreflightResponse):
        pieces.append(reply.headers)
    else:
        body = error_body(reply)
        pieces.append(b"\r\ncontent-type: application/json\r\ncontent-length: %d" % len(body))
        if reply.retry_after_s is not None:
            pieces.append(b"\r\nretry-after: %d" % reply.retry_after_s)
        if reply.status == 401:
            pieces.append(b"\r\nwww-authenticate: Bearer")
    pieces.append(request.response_headers)
    if is_last:
        pieces.append(b"\r\nconnection: close")
    pieces.append(b"\r\n\r\n")
    if not request.is_head:
        pieces.append(body)
    return b"".join(pieces)


def error_event(error: ErrorResponse, *, is_named: bool = False) -> bytes:
    """The last server-sent event of a stream that has started. is_named: in the shape of the
    Messages API, which clients of the Responses API read too."""
    body = error_body(error)
    if is_named:
        return b'event: error\ndata: {"type":"error",%b\n\n' % body[1:]
    return b"data: %b\n\n" % body
