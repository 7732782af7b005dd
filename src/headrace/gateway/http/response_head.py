"""The status line and headers of a replica's response, and which of them the client gets."""

from __future__ import annotations

from collections.abc import Callable

from headrace.http1.connection import ResponseHead

_IS_FORWARDED: dict[bytes, bool] = {
    b"connection": False,
    b"keep-alive": False,
    b"proxy-connection": False,
    b"te": False,
    b"trailer": False,
    b"transfer-encoding": False,
    b"upgrade": False,
    b"content-length": True,
    b"content-type": True,
    b"content-encoding": True,
    b"location": False,  # see `ForwardedHead.rewrite_locations`
    b"content-location": False,
    b"access-control-allow-credentials": False,  # the gateway does CORS
    b"access-control-allow-headers": False,
    b"access-control-allow-methods": False,
    b"access-control-allow-origin": False,
    b"access-control-allow-private-network": False,
    b"access-control-expose-headers": False,
    b"access-control-max-age": False,
}
"""The headers that the gateway inspects, and whether the client gets them unchanged."""

_LOCATIONS = (b"location", b"content-location")
MAX_JOINED_BYTES = 16 * 1024
"""Of inspected headers with the same name, joined as one; the rest is dropped."""


class ForwardedHead(ResponseHead):
    """``inspected`` has the headers that the gateway inspects, ``lines`` all that are forwarded."""

    __slots__ = ("lines",)

    def __init__(self) -> None:
        self.status = 0  # without super(), which costs as much as the rest
        self.reason = b""
        self.inspected: dict[bytes, bytes] = {}
        self.lines: list[bytes] = []
        """Four pieces for each header: line end, name, colon, value."""

    def add_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        is_forwarded = _IS_FORWARDED.get(lower)
        if is_forwarded is not None:
            inspected = self.inspected
            if lower not in inspected:
                inspected[lower] = value
            elif len(inspected[lower]) <= MAX_JOINED_BYTES:
                inspected[lower] += b", " + value
            if not is_forwarded:
                return
        self.lines += (b"\r\n", name, b": ", value)

    @property
    def is_event_stream(self) -> bool:
        return (
            self.inspected.get(b"content-type", b"").lower().startswith(b"text/event-stream")
            and b"content-encoding" not in self.inspected
        )

    def is_held(self, method: bytes) -> bool:
        """Whether the client gets it only with the body's first bytes, so that the request can be
        retried until then. Not in response to a GET without a length, which may wait for events."""
        has_length = b"content-length" in self.inspected
        return has_length or (method == b"POST" and not self.ends_with_connection)

    def rewrite_locations(self, rewrite: Callable[[bytes], bytes]) -> None:
        """The client gets ``rewrite(url)`` of each URL in ``Location`` and ``Content-Location``."""
        for name in _LOCATIONS:
            if name in self.inspected:
                self.lines += (b"\r\n", name, b": ", rewrite(self.inspected[name]))

    def complete(self) -> None:
        if b"connection" in self.inspected:
            self._drop_named_by_connection()

    def _drop_named_by_connection(self) -> None:
        """Drop the headers that ``Connection`` names, except those without which the client could
        not read the body."""
        names = {name.strip().lower() for name in self.inspected[b"connection"].split(b",")}
        names -= _IS_FORWARDED.keys()
        lines = self.lines
        self.lines = [
            piece
            for index in range(0, len(lines), 4)
            if lines[index + 1].lower() not in names
            for piece in lines[index : index + 4]
        ]
