"""uvicorn's HTTP/1.1 protocol with a limit of header size and with HTTP/1.0 responses.

HTTP/1.0 clients are old scripts, and nginx unless configured otherwise (``proxy_http_version``).
"""

from http import HTTPStatus
from typing import cast

import orjson
from starlette.types import Message, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from headrace.server.http.errors import ApiError, ErrorCode

MAX_HEAD_SIZE = 64 * 1024
"""Bytes of a request line and its headers, of trailers, or of a chunk's extensions."""


class HttpProtocol(HttpToolsProtocol):
    """One connection. The parser buffers an incomplete header and copies it with each read, so an
    unbounded header would consume memory and CPU."""

    _num_head_bytes = 0
    """Received since the last byte of a body or the end of the last headers."""

    def data_received(self, data: bytes) -> None:
        self._num_head_bytes += len(data)
        super().data_received(data)
        if self._num_head_bytes > MAX_HEAD_SIZE and not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(
                    _last_response(
                        ApiError(
                            ErrorCode.HEADERS_TOO_LARGE,
                            f"The request line and headers exceed {MAX_HEAD_SIZE} bytes.",
                        )
                    )
                )
            self.transport.close()

    def on_headers_complete(self) -> None:
        self._num_head_bytes = 0
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0":
            # The request's task starts after this call.
            setattr(self.cycle, "send", _CloseDelimited(self.cycle))  # noqa: B010

    def send_400_response(self, msg: str) -> None:
        self.transport.write(_last_response(ApiError(ErrorCode.INVALID_HTTP, msg)))
        self.transport.close()

    def on_body(self, body: bytes) -> None:
        self._num_head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._num_head_bytes = 0
        super().on_message_complete()


class _CloseDelimited:
    """Sends a response without Content-Length unchunked, as HTTP/1.0 has no chunked encoding. The
    connection's end delimits it (RFC 9112, 6.3)."""

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._send = cast(Send, cycle.send)
        self._has_length = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            names = [name.lower() for name, _ in message.get("headers", ())]
            self._has_length = b"content-length" in names
            if not self._has_length:
                self._cycle.chunked_encoding = False
        elif not self._has_length:
            # uvicorn checks an unchunked body against this length.
            self._cycle.expected_content_length = len(message.get("body", b""))
        await self._send(message)


def _last_response(error: ApiError) -> bytes:
    """The encoded response, after which the connection is closed."""
    body = orjson.dumps(error.body)
    return (
        b"HTTP/1.1 %d %b\r\n"
        b"content-type: application/json\r\n"
        b"content-length: %d\r\n"
        b"connection: close\r\n"
        b"\r\n"
        b"%b"
    ) % (error.status, HTTPStatus(error.status).phrase.encode(), len(body), body)
