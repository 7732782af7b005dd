"""The listening socket. It is bound before the model is loaded, so a port in use fails at once."""

import errno
import socket
from typing import Any, Literal, NamedTuple

from headrace.core.errors import HeadraceError

ListenErrorCode = Literal[
    "invalid_port",
    "unknown_host",
    "address_in_use",
    "permission_denied",
    "address_not_available",
    "listen_failed",
]


class ListenError(HeadraceError):
    """The server cannot listen on the address."""

    code: ListenErrorCode

    def __init__(self, code: ListenErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def bind(host: str, port: int) -> socket.socket:
    """A socket that is bound to the address and does not listen yet; raises ListenError."""
    if not 0 <= port <= 65535:
        raise ListenError("invalid_port", f"--port must be between 0 and 65535, got {port}.")
    found = resolve(host, port)
    sock = socket.socket(found.family, found.kind, found.protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(found.address)
    except OSError as error:
        sock.close()
        raise listen_error(host, port, error) from error
    return sock


class SocketAddress(NamedTuple):
    """An address, and the kind of socket that can be bound to it."""

    family: socket.AddressFamily
    kind: socket.SocketKind
    protocol: int
    address: Any
    """As `socket.bind` takes it."""


def resolve(host: str, port: int) -> SocketAddress:
    """The first address of the host; raises ListenError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ListenError("unknown_host", f"Cannot resolve --host {host}: {reason}.") from error
    return SocketAddress(family, kind, protocol, address)


def listen_error(host: str, port: int, error: OSError, option: str = "--port") -> ListenError:
    """The error for the user, from the system's. ``option``: sets the port."""
    code = error.errno
    if code == errno.EADDRINUSE:
        return ListenError(
            "address_in_use",
            f"Port {port} on {host} is already in use. Choose another one with {option} (0 for "
            "any free port).",
        )
    if code == errno.EACCES:
        return ListenError(
            "permission_denied",
            f"Permission denied for port {port}. Choose a port above 1023 with {option}.",
        )
    if code == errno.EADDRNOTAVAIL:
        return ListenError(
            "address_not_available", f"--host {host} is not an address of this machine."
        )
    return ListenError("listen_failed", f"Cannot listen on {host} port {port}: {error}.")


def base_url(sock: socket.socket, scheme: str = "http") -> str:
    """The URL of the socket for clients on this machine."""
    host, port = sock.getsockname()[:2]
    if host == "0.0.0.0":
        host = "127.0.0.1"
    elif host == "::":
        host = "::1"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
