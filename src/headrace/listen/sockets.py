"""The listening socket, bound before anything slow begins, so that a port in use fails at once."""

import errno
import socket

from headrace.core.errors import HeadraceError


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to the address, not listening yet; raises HeadraceError with what to do."""
    if not 0 <= port <= 65535:
        raise HeadraceError(f"--port must be between 0 and 65535, got {port}.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise HeadraceError(f"There is no address for --host {host}: {reason}.") from error
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise listen_error(host, port, error) from error
    return sock


def listen_error(host: str, port: int, error: OSError) -> HeadraceError:
    """Why the address cannot be listened on, and what to do."""
    code = error.errno
    if code == errno.EADDRINUSE:
        return HeadraceError(
            f"Port {port} on {host} is in use. Stop what listens there, or choose another port "
            "with --port (0 takes a free one)."
        )
    if code == errno.EACCES:
        return HeadraceError(f"Port {port} needs more rights than you have. Choose one above 1023.")
    if code == errno.EADDRNOTAVAIL:
        return HeadraceError(f"{host} is not an address of this machine (--host).")
    return HeadraceError(f"Cannot listen on {host} port {port}: {error}.")


def base_url(sock: socket.socket, scheme: str = "http") -> str:
    """The URL of the socket for a client on this machine."""
    host, port = sock.getsockname()[:2]
    if host == "0.0.0.0":
        host = "127.0.0.1"
    elif host == "::":
        host = "::1"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
