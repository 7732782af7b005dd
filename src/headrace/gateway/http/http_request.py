"""The head of a client's request, and the request that a replica gets.

Every header is forwarded unchanged, except hop-by-hop headers (RFC 9110, 7.6.1), those that the
gateway writes itself, ``Origin``, and credentials that the gateway has accepted.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

_HOP_BY_HOP = (
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
"""The headers that a service's key may come in. They are stored separately, so that the one with
the key can be removed."""

_IS_FORWARDED: dict[bytes, bool] = {
    **dict.fromkeys(_HOP_BY_HOP, False),
    b"content-length": False,  # rewritten, since the body is forwarded whole
    b"expect": False,  # handled by the gateway
    b"host": False,  # replaced by the replica's address
    b"origin": False,  # the gateway does CORS
    b"x-forwarded-for": False,  # the client's address is appended
    b"x-forwarded-host": False,  # kept from trusted peers only
    b"x-forwarded-proto": False,  # as well
    b"x-request-id": True,
    **dict.fromkeys(_CREDENTIALS, False),  # stored separately
}
"""The headers that the gateway inspects, and whether the replica gets them unchanged."""

_REWRITTEN = (
    b"host",
    b"origin",
    b"content-length",
    b"transfer-encoding",
    b"expect",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
)
"""Inspected headers that are not forwarded unchanged, without the hop-by-hop ones."""

_NOT_TO_DROP = {b"close", b"keep-alive", b"x-request-id"}
"""Names in ``Connection`` without effect: connection options, and a header that replicas need."""

_PIECES_PER_LINE = 4
MAX_JOINED_BYTES = 16 * 1024
"""Of inspected headers with the same name, joined as one."""

_url = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL).fullmatch


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a client's connection."""

    address: bytes
    scheme: bytes = b"http"
    """``https`` if the connection has TLS."""
    is_trusted: bool = False
    """It is on this machine and may be a reverse proxy: its ``X-Forwarded-Host`` and
    ``X-Forwarded-Proto`` are kept."""


Credential = tuple[bytes, bytes]
"""A header that may hold a service's key: its name as the client wrote it, and its value."""


class Request:
    """Filled while it is parsed, completed when it is matched with a service, and constant then: it
    is used again for later requests with an equal head."""

    __slots__ = (
        "_first_line",
        "_headers",
        "_path",
        "accepts_chunked",
        "credentials",
        "inspected",
        "is_last",
        "key_name",
        "lines",
        "method",
        "repeats_too_much",
        "response_headers",
        "target",
    )

    def __init__(self) -> None:
        self.method = b""
        self.target = b""
        """As the client wrote it."""
        self.is_last = False
        """The connection is closed after the response."""
        self.accepts_chunked = True
        """The client uses HTTP/1.1."""
        self.inspected: dict[bytes, bytes] = {}
        """The headers that the gateway inspects, by their names in lower case."""
        self.lines: list[bytes] = []
        """Forwarded headers, four pieces each: name, colon, value, line end."""
        self.credentials: list[Credential] = []
        """Forwarded too, except those that `drop_credentials` removes."""
        self.key_name = ""
        """Of its valid API key. Empty: its service has no keys, or it has no valid one."""
        self.response_headers = b""
        """Additional headers of every response to it, each after a line end."""
        self.repeats_too_much = False
        """Inspected headers with the same name exceed `MAX_JOINED_BYTES`."""
        self._path: bytes | None = None
        """The path for which the two below were written."""
        self._first_line = b""
        """Up to the value of ``Host``."""
        self._headers = b""
        """The headers that are equal in all requests with this head."""

    # while it is parsed

    def add_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        is_forwarded = _IS_FORWARDED.get(lower)
        if is_forwarded is not None:
            inspected = self.inspected
            if lower not in inspected:
                inspected[lower] = value
            elif len(inspected[lower]) <= MAX_JOINED_BYTES:
                inspected[lower] += b", " + value
            else:
                self.repeats_too_much = True
            if not is_forwarded:
                if lower in _CREDENTIALS:
                    self.credentials.append((name, value))
                return
        self.lines += (name, b": ", value, b"\r\n")

    def is_only_header(self, credential: Credential) -> bool:
        """Whether no other header has its name."""
        name, value = credential
        return self.inspected[name.lower()] == value

    def drop_credentials(self, credentials: Collection[Credential]) -> None:
        """Forward all but these."""
        self.credentials = [one for one in self.credentials if one not in credentials]

    # for routing

    @property
    def is_head(self) -> bool:
        return self.method == b"HEAD"

    @property
    def has_connection_header(self) -> bool:
        """``Proxy-Connection`` included, which the parser uses too."""
        return b"connection" in self.inspected or b"proxy-connection" in self.inspected

    @property
    def host(self) -> bytes | None:
        """A target in absolute form takes precedence over the header (RFC 9112, 3.2.2)."""
        if self.target.startswith(b"/"):
            return self.inspected.get(b"host")
        return self.authority or self.inspected.get(b"host")

    @property
    def authority(self) -> bytes | None:
        """The host of a target that is a URL."""
        url = _url(self.target)
        return None if url is None else url[1]

    @property
    def origin(self) -> bytes | None:
        """Of the web page that sent it, according to its browser."""
        return self.inspected.get(b"origin")

    @property
    def path(self) -> bytes:
        """The target without scheme and host, which clients of forward proxies send."""
        if self.target.startswith(b"/"):
            return self.target
        url = _url(self.target)
        if url is None:
            return self.target
        rest: bytes = url[2]
        return rest if rest.startswith(b"/") else b"/" + rest

    def client_hosts(self, peer: Peer) -> frozenset[bytes]:
        """The hosts by which the client may address the gateway, in lower case."""
        hosts = [self.host]
        if peer.is_trusted:
            hosts.append(self.inspected.get(b"x-forwarded-host"))
        return frozenset(host.lower() for host in hosts if host)

    @property
    def content_length(self) -> int | None:
        value = self.inspected.get(b"content-length")
        return None if value is None else int(value)

    def is_longer_than(self, num_bytes: int) -> bool:
        """Whether its body is longer, or of unknown length."""
        length = self.content_length
        return b"transfer-encoding" in self.inspected if length is None else length > num_bytes

    @property
    def expects_continue(self) -> bool:
        inspected = self.inspected
        return (
            b"expect" in inspected
            and self.accepts_chunked
            and inspected[b"expect"].lower() == b"100-continue"
        )

    @property
    def wants_websocket(self) -> bool:
        return self.inspected.get(b"upgrade", b"").lower() == b"websocket"

    def header(self, lower_name: bytes) -> bytes | None:
        """The first header with this name; slow, for headers that only some services use."""
        if lower_name in self.inspected:
            return self.inspected[lower_name]
        for index in range(0, len(self.lines), _PIECES_PER_LINE):
            if self.lines[index].lower() == lower_name:
                return self.lines[index + 2]
        return None

    def without_upgrade(self) -> bytes:
        """Its head as the client would send it without the offer of another protocol."""
        self._drop_named_by_connection()
        version = b"1" if self.accepts_chunked else b"0"
        pieces = [self.method, b" ", self.target, b" HTTP/1.", version, b"\r\n", *self.lines]
        for name, value in self.credentials:
            pieces += (name, b": ", value, b"\r\n")
        for name in _REWRITTEN:
            if name in self.inspected:
                pieces += (name, b": ", self.inspected[name], b"\r\n")
        pieces.append(b"connection: close\r\n" if self.is_last else b"connection: keep-alive\r\n")
        pieces.append(b"\r\n")
        return b"".join(pieces)

    # for the replica

    def forwarded(
        self,
        path: bytes,
        replica_address: bytes,
        body: bytes,
        peer: Peer,
        new_request_id: bytes,
    ) -> bytes:
        """The whole request for the replica at this ``HOST:PORT``. ``peer`` is the same in each
        call; ``new_request_id`` is used if the client sent none."""
        if path != self._path:
            self._prepare(path, peer)
        inspected = self.inspected
        if b"x-request-id" in inspected:
            new_request_id = b""
        if body or b"content-length" in inspected or b"transfer-encoding" in inspected:
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

    def _prepare(self, path: bytes, peer: Peer) -> None:
        """Write the parts that are equal in all requests with this head and path."""
        inspected = self.inspected
        if b"connection" in inspected:
            self._drop_named_by_connection()
        pieces = [b"\r\n", *self.lines]
        for name, value in self.credentials:
            pieces += (name, b": ", value, b"\r\n")
        before = inspected.get(b"x-forwarded-for")
        address = peer.address
        pieces += (b"x-forwarded-for: ", address if before is None else before + b", " + address)
        scheme, host = peer.scheme, self.host
        if peer.is_trusted:
            scheme = inspected.get(b"x-forwarded-proto", scheme)
            host = inspected.get(b"x-forwarded-host", host)
        pieces += (b"\r\nx-forwarded-proto: ", scheme)
        if host is not None:
            pieces += (b"\r\nx-forwarded-host: ", host)
        if b"x-request-id" not in inspected:
            pieces.append(b"\r\nx-request-id: ")
        self._first_line = b"%b %b HTTP/1.1\r\nhost: " % (self.method, path)
        self._headers = b"".join(pieces)
        self._path = path

    def _drop_named_by_connection(self) -> None:
        value = self.inspected.get(b"connection", b"")
        names = {name.strip().lower() for name in value.split(b",")} - _NOT_TO_DROP
        if not names:
            return
        lines = self.lines
        self.lines = [
            piece
            for index in range(0, len(lines), _PIECES_PER_LINE)
            if lines[index].lower() not in names
            for piece in lines[index : index + _PIECES_PER_LINE]
        ]
        self.credentials = [one for one in self.credentials if one[0].lower() not in names]
