"""A client's request as the gateway reads it, and as it hands it on to a replica.

Every header is forwarded as it came but those that concern one connection only (RFC 9110, 7.6.1).
Knows neither sockets nor services.
"""

from __future__ import annotations

import re

_ONE_CONNECTION_ONLY = (
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
)

_IS_FORWARDED: dict[bytes, bool] = {
    **dict.fromkeys(_ONE_CONNECTION_ONLY, False),
    b"content-length": False,  # written anew, since the body is forwarded whole
    b"expect": False,  # answered here
    b"x-forwarded-for": False,  # grows by the client's address
    b"x-forwarded-host": True,
    b"x-forwarded-proto": True,
    b"x-request-id": True,
    b"host": True,
    b"authorization": True,
    b"api-key": True,
    b"x-api-key": True,
}
"""The headers that the gateway looks at, and whether the replica gets them as they came."""

_NOT_TO_DROP = {
    b"close",
    b"keep-alive",
    b"host",
    b"x-forwarded-host",
    b"x-forwarded-proto",
    b"x-request-id",
}
"""What ``Connection`` may name in vain: no headers, and those that every replica gets."""

_OTHER_KEY_HEADERS = (b"x-api-key", b"api-key")
_PIECES_A_LINE = 4

_url = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL).fullmatch


class Request:
    """Its head: filled while it is read; then it changes no more, and may serve for several
    requests that differ in their bodies alone."""

    __slots__ = (
        "_begin",
        "_begin_path",
        "can_chunk",
        "is_last",
        "lines",
        "method",
        "noted",
        "target",
    )

    def __init__(self) -> None:
        self.method = b""
        self.target = b""
        """As the client wrote it."""
        self.is_last = False
        """The client expects the connection to end after the answer."""
        self.can_chunk = True
        """The client speaks HTTP/1.1."""
        self.noted: dict[bytes, bytes] = {}
        """The headers that the gateway looks at, by their lower names."""
        self.lines: list[bytes] = []
        """Forwarded headers, four pieces each: name, colon, value, line end."""
        self._begin = b""
        """What `forwarded` begins with for `_begin_path`."""
        self._begin_path: bytes | None = None

    # while it is read

    def add_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        is_forwarded = _IS_FORWARDED.get(lower)
        if is_forwarded is not None:
            noted = self.noted
            noted[lower] = value if lower not in noted else noted[lower] + b", " + value
            if not is_forwarded:
                return
        self.lines += (name, b": ", value, b"\r\n")

    # what routing asks

    @property
    def is_head(self) -> bool:
        return self.method == b"HEAD"

    @property
    def has_connection_header(self) -> bool:
        return b"connection" in self.noted

    @property
    def host(self) -> bytes | None:
        """A target that names one outranks the header (RFC 9112, 3.2.2)."""
        if self.target.startswith(b"/"):
            return self.noted.get(b"host")
        return self.authority or self.noted.get(b"host")

    @property
    def authority(self) -> bytes | None:
        """The host of a target that is a URL."""
        url = _url(self.target)
        return None if url is None else url[1]

    @property
    def authorization(self) -> bytes | None:
        noted = self.noted
        return noted.get(b"authorization") or noted.get(b"x-api-key") or noted.get(b"api-key")

    @property
    def other_keys(self) -> list[bytes]:
        """What else may be a key, when ``Authorization`` has one that is the replica's own."""
        noted = self.noted
        return [noted[name] for name in _OTHER_KEY_HEADERS if name in noted]

    @property
    def path(self) -> bytes:
        """The target without scheme and host, which clients of forward proxies put there."""
        if self.target.startswith(b"/"):
            return self.target
        url = _url(self.target)
        if url is None:
            return self.target
        rest: bytes = url[2]
        return rest if rest.startswith(b"/") else b"/" + rest

    @property
    def content_length(self) -> int | None:
        value = self.noted.get(b"content-length")
        return None if value is None else int(value)

    def is_long(self, num_bytes: int) -> bool:
        """Whether its body is longer, or may be."""
        length = self.content_length
        return b"transfer-encoding" in self.noted if length is None else length > num_bytes

    @property
    def expects_continue(self) -> bool:
        noted = self.noted
        return b"expect" in noted and self.can_chunk and noted[b"expect"].lower() == b"100-continue"

    @property
    def wants_websocket(self) -> bool:
        return self.noted.get(b"upgrade", b"").lower() == b"websocket"

    def header(self, lower_name: bytes) -> bytes | None:
        """The first one of this name; slow, for headers that only some services look at."""
        if lower_name in self.noted:
            return self.noted[lower_name]
        for index in range(0, len(self.lines), _PIECES_A_LINE):
            if self.lines[index].lower() == lower_name:
                return self.lines[index + 2]
        return None

    def without_upgrade(self) -> bytes:
        """Its head as the client would have written it without offering another protocol."""
        self._drop_named_by_connection()
        version = b"1" if self.can_chunk else b"0"
        pieces = [self.method, b" ", self.target, b" HTTP/1.", version, b"\r\n", *self.lines]
        for name in (b"content-length", b"transfer-encoding", b"expect", b"x-forwarded-for"):
            if name in self.noted:
                pieces += (name, b": ", self.noted[name], b"\r\n")
        pieces.append(b"connection: close\r\n" if self.is_last else b"connection: keep-alive\r\n")
        pieces.append(b"\r\n")
        return b"".join(pieces)

    # what the replica gets

    def forwarded(self, path: bytes, body: bytes, client: bytes, new_request_id: bytes) -> bytes:
        """The whole request for a replica; ``client``: the address that it came from, which is
        the same each time that this is called."""
        if path != self._begin_path:
            self._begin = self._forwarded_begin(path, client)
            self._begin_path = path
        noted = self.noted
        if b"x-request-id" in noted:
            new_request_id = b""
        if body or b"content-length" in noted or b"transfer-encoding" in noted:
            return b"%b%b\r\ncontent-length: %d\r\n\r\n%b" % (
                self._begin,
                new_request_id,
                len(body),
                body,
            )
        return b"%b%b\r\n\r\n" % (self._begin, new_request_id)

    def _forwarded_begin(self, path: bytes, client: bytes) -> bytes:
        """Everything before the new request's id, and before what depends on the body."""
        noted = self.noted
        if b"connection" in noted:
            self._drop_named_by_connection()
        host = self.host
        if host is None or not self.target.startswith(b"/"):
            self._drop({b"host"})
            self.lines += (b"host", b": ", host or b"", b"\r\n")
        pieces = [self.method, b" ", path, b" HTTP/1.1\r\n", *self.lines]
        before = noted.get(b"x-forwarded-for")
        pieces += (b"x-forwarded-for: ", client if before is None else before + b", " + client)
        if b"x-forwarded-proto" not in noted:
            pieces.append(b"\r\nx-forwarded-proto: http")
        if b"x-forwarded-host" not in noted and host is not None:
            pieces += (b"\r\nx-forwarded-host: ", host)
        if b"x-request-id" not in noted:
            pieces.append(b"\r\nx-request-id: ")
        return b"".join(pieces)

    def _drop_named_by_connection(self) -> None:
        value = self.noted.get(b"connection", b"")
        if names := {name.strip().lower() for name in value.split(b",")} - _NOT_TO_DROP:
            self._drop(names)

    def _drop(self, names: set[bytes]) -> None:
        lines = self.lines
        self.lines = [
            piece
            for index in range(0, len(lines), _PIECES_A_LINE)
            if lines[index].lower() not in names
            for piece in lines[index : index + _PIECES_A_LINE]
        ]
