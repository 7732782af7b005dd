"""What the router answers when asked where a request goes, and how an attempt at it may end.

Knows nothing of how the answer is found.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.gateway.routing.replica import Replica
    from headrace.gateway.routing.topology import ServiceState


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Send it there."""

    replica: Replica


@dataclass(frozen=True, slots=True)
class Hold:
    """Nobody can take it now: wait for a change, then ask again."""

    revision: int
    """In whose share it waits."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Answer the client with this error; asking again would not help."""

    status: int
    code: str
    message: str
    error_type: str = "invalid_request_error"
    retry_after_s: int | None = None


Choice = Chosen | Hold | Refused


@dataclass(frozen=True, slots=True)
class ServiceMatch:
    """The service that a request is for, and what to ask its replica for."""

    service: ServiceState
    path: bytes
    """As the replica knows it, the query included."""
    prefix: bytes = b""
    """What comes before it in the client's path: ``/SERVICE``, or nothing if the host names the
    service."""


class Outcome(enum.Enum):
    """How one attempt at one replica ended."""

    OK = enum.auto()
    """A whole answer came, whatever its status; 502, 503 and 504 are BAD_STATUS."""
    CLIENT_GONE = enum.auto()
    """Says nothing of the replica."""
    CONNECT_FAILED = enum.auto()
    CUT = enum.auto()
    """The connection ended before the answer did."""
    BAD_STATUS = enum.auto()
    TIMEOUT = enum.auto()
    """Nothing came for too long, or it was given up because probes failed."""
