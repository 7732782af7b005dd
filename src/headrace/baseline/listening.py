"""The listening socket, bound before the slow things begin, so that a taken port is told at once.

Knows nothing of who will answer on it.
"""

import socket

from headrace.core.errors import HeadraceError


def bind(host: str, port: int) -> socket.socket:
    """A socket that clients may already connect to; raises HeadraceError with what to do."""
    try:
        return socket.create_server((host, port))
    except (OSError, OverflowError) as error:
        raise HeadraceError(
            f"Cannot listen on {host} port {port}: {error}. Choose another with --port (0 takes a "
            "free one)."
        ) from error
