"""Errors that the gateway raises on purpose.

HeadraceError
├── ListenError        an address cannot be listened on
└── RouteTableError    the route table's file cannot be followed
"""

from headrace.core.errors import HeadraceError


class RouteTableError(HeadraceError):
    """The route table's file cannot be read, or contradicts itself."""


class ListenError(HeadraceError):
    """The address cannot be listened on."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        super().__init__(
            f"Cannot listen on {host} port {port} ({error.strerror}). "
            "Stop what listens there, or choose another address or port."
        )
