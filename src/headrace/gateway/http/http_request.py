"""A client's request as the gateway reads it, and as it hands it on to a replica.

Every header is forwarded as it came but those that concern one connection only (RFC 9110, 7.6.1),
those that the gateway writes itself, ``Origin``, and credentials that the gateway has accepted.
Knows neither sockets nor services.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

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

_CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"api-key"})
"""The headers that a service's key may come in. They are kept apart, so that the one with the key
can be left out."""

_IS_FORWARDED: dict[bytes, bool] = {
    **dict.fromkeys(_ONE_CONNECTION_ONLY, False),
    b"content-length": False,  # written anew, since the body is forwarded whole
    b"expect": False,  # answered here
    b"host": False,  # the replica's own address takes its place
    b"origin": False,  # the gateway answers for CORS
    b"x-forwarded-for": False,  # grows by the client's address
    b"x-forwarded-host": False,  # depends on who sent it
    b"x-forwarded-proto": False,  # the same
    b"x-request-id": True,
    **dict.fromkeys(_CREDENTIALS, False),  # kept apart
}
"""The headers that the gateway looks at, and whether the replica gets them as they came."""

_WRITTEN_ANEW = (
    b"host",
    b"origin",
    b"content-length",
    b"transfer-encoding",
    b"expect",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
)
"""Headers that are noted and not among the forwarded lines, and that are no connection's own."""

_NOT_TO_DROP = {b"close", b"keep-alive", b"x-request-id"}
"""What ``Connection`` may name without effect: what is no header, and one that replicas need."""

_PIECES_A_LINE = 4
MAX_JOINED_BYTES = 16 * 1024
"""Of several headers of one name that the gateway looks at, joined as one."""

_url = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL).fullmatch


@dataclass(frozen=True, slots=True)
class Sender:
    """The other end of a client's connection."""

    address: bytes
    scheme: bytes = b"http"
    """``https`` if the connection has TLS."""
    is_trusted: bool = False
    """It is on this machine, so that it may be a reverse proxy: its ``X-Forwarded-Host`` and
    ``X-Forwarded-Proto`` are kept."""


Credential = tuple[bytes, bytes]
"""A header that may hold a service's key: its name as the client wrote it, and its value."""


class Request:
    """Its head: filled while it is read, and completed when it has been matched with a service;
    then it changes no more, and may serve for several requests that differ in their bodies alone.
    """

    __slots__ = (
        "_first_line",
        "_headers",
        "_path",
        "answer_headers",
        "can_chunk",
        "credentials",
        "is_last",
        "lines",
        "method",
        "noted",
        "repeats_too_much",
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
        self.credentials: list[Credential] = []
        """Forwarded too, but for those that are taken out with `drop_credentials`."""
        self.answer_headers = b""
        """More headers for every answer to it, each after a line end."""
        self.repeats_too_much = False
        """A header that the gateway looks at came too often."""
        self._path: bytes | None = None
        """For which the two below were made."""
        self._first_line = b""
        """Up to the value of ``Host``."""
        self._headers = b""
        """All that is the same in each request with this head."""

    # while it is read

    def add_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        is_forwarded = _IS_FORWARDED.get(lower)
        if is_forwarded is not None:
            noted = self.noted
            if lower not in noted:
                noted[lower] = value
            elif len(noted[lower]) <= MAX_JOINED_BYTES:
                noted[lower] += b", " + value
            else:
                self.repeats_too_much = True
            if not is_forwarded:
                if lower in _CREDENTIALS:
                    self.credentials.append((name, value))
                return
        self.lines += (name, b": ", value, b"\r\n")

    def is_alone(self, credential: Credential) -> bool:
        """No other header has its name."""
        name, value = credential
        return self.noted[name.lower()] == value

    def drop_credentials(self, credentials: Collection[Credential]) -> None:
        """Forward all but these."""
        self.credentials = [one for one in self.credentials if one not in credentials]

    # what routing asks

    @property
    def is_head(self) -> bool:
        return self.method == b"HEAD"

    @property
    def has_connection_header(self) -> bool:
        """The parser goes by the one for proxies too."""
        return b"connection" in self.noted or b"proxy-connection" in self.noted

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
    def origin(self) -> bytes | None:
        """Of the web page that sent it, as its browser says."""
        return self.noted.get(b"origin")

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

    def client_hosts(self, sender: Sender) -> frozenset[bytes]:
        """What the client may call the gateway, in lower case: itself, or through a proxy."""
        hosts = [self.host]
        if sender.is_trusted:
            hosts.append(self.noted.get(b"x-forwarded-host"))
        return frozenset(host.lower() for host in hosts if host)

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
        for name, value in self.credentials:
            pieces += (name, b": ", value, b"\r\n")
        for name in _WRITTEN_ANEW:
            if name in self.noted:
                pieces += (name, b": ", self.noted[name], b"\r\n")
        pieces.append(b"connection: close\r\n" if self.is_last else b"connection: keep-alive\r\n")
        pieces.append(b"\r\n")
        return b"".join(pieces)

    # what the replica gets

    def forwarded(
        self,
        path: bytes,
        replica_address: bytes,
        body: bytes,
        sender: Sender,
        new_request_id: bytes,
    ) -> bytes:
        """The whole request for the replica at this ``HOST:PORT``. ``sender`` is the same each
        time that this is called; ``new_request_id`` is for a client that gave it none."""
        if path != self._path:
            self._prepare(path, sender)
        noted = self.noted
        if b"x-request-id" in noted:
            new_request_id = b""
        if body or b"content-length" in noted or b"transfer-encoding" in noted:
            return b"%b%b%b%b\r\ncontent-length: %d\r\n\r\n%b" % (
                self._first_line,
                replica_address,
                self._headers,
                new_request_id,
                len(body),
                body,
            )
        return b"%b%b%b%b\r\n\r\n" % (
            self._first_line,
            replica_address,
            self._headers,
            new_request_id,
        )

    def _prepare(self, path: bytes, sender: Sender) -> None:
        """Write all that is the same in each request with this head and path."""
        noted = self.noted
        if b"connection" in noted:
            self._drop_named_by_connection()
        pieces = [b"\r\n", *self.lines]
        for name, value in self.credentials:
            pieces += (name, b": ", value, b"\r\n")
        before = noted.get(b"x-forwarded-for")
        address = sender.address
        pieces += (b"x-forwarded-for: ", address if before is None else before + b", " + address)
        scheme, host = sender.scheme, self.host
        if sender.is_trusted:
            scheme = noted.get(b"x-forwarded-proto", scheme)
            host = noted.get(b"x-forwarded-host", host)
        pieces += (b"\r\nx-forwarded-proto: ", scheme)
        if host is not None:
            pieces += (b"\r\nx-forwarded-host: ", host)
        if b"x-request-id" not in noted:
            pieces.append(b"\r\nx-request-id: ")
        self._first_line = b"%b %b HTTP/1.1\r\nhost: " % (self.method, path)
        self._headers = b"".join(pieces)
        self._path = path

    def _drop_named_by_connection(self) -> None:
        value = self.noted.get(b"connection", b"")
        names = {name.strip().lower() for name in value.split(b",")} - _NOT_TO_DROP
        if not names:
            return
        lines = self.lines
        self.lines = [
            piece
            for index in range(0, len(lines), _PIECES_A_LINE)
            if lines[index].lower() not in names
            for piece in lines[index : index + _PIECES_A_LINE]
        ]
        self.credentials = [one for one in self.credentials if one[0].lower() not in names]
