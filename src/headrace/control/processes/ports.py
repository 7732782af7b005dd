"""Free ports of this machine's loopback."""

import socket
from collections.abc import Collection

from headrace.control.errors import LaunchError

_MAX_TRIES = 100


def find_free_port(taken: Collection[int] = (), *, preferred: int | None = None) -> int:
    """A port that no process listens on and that is not in ``taken``.

    It is free now and should be bound soon. The system assigns such ports in turn, so the same one
    is not returned again soon. Raises LaunchError if there is none.
    """
    if preferred is not None and preferred not in taken and _is_free(preferred):
        return preferred
    for _ in range(_MAX_TRIES):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.bind(("127.0.0.1", 0))
            port = int(listener.getsockname()[1])
        if port not in taken:
            return port
    raise LaunchError("No free port found on this machine.")


def _is_free(port: int) -> bool:
    for address in ("127.0.0.1", "0.0.0.0"):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((address, port))
            except OSError:
                return False
    return True
