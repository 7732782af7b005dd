"""The router's decisions about a request, and the ways an attempt can end."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from headrace.gateway.errors import ErrorResponse
from headrace.gateway.routing.topology import ReplicaEndpoint, ServiceState


@dataclass(frozen=True, slots=True)
class Hold:
    """No replica can take the request now: queue it, and decide again after a change."""

    revision: int
    """The revision whose share of the traffic the request belongs to."""


Decision = ReplicaEndpoint | Hold | ErrorResponse
"""Send the request to this replica; or queue it; or answer it with this error, which is final."""


class RetryTime(enum.Enum):
    """When a failed request may be retried."""

    NOW = enum.auto()
    LATER = enum.auto()
    """The retry budget is used up, or replicas that lost the request have yet to be probed."""


@dataclass(frozen=True, slots=True)
class ServiceMatch:
    """The service that a request is for, and the path to request from its replica."""

    service: ServiceState
    path: bytes
    """For the replica, with the query."""
    prefix: bytes = b""
    """The part of the client's path before it: ``/SERVICE``, or empty if the host names the
    service."""


class Outcome(enum.Enum):
    """How one attempt at one replica ended."""

    OK = enum.auto()
    """The response is complete, and its status is not one of 502, 503 and 504."""
    CLIENT_DISCONNECTED = enum.auto()
    """Says nothing about the replica."""
    CONNECT_FAILED = enum.auto()
    CUT = enum.auto()
    """The connection was closed before the response was complete."""
    BAD_STATUS = enum.auto()
    """502, 503 or 504."""
    TIMEOUT = enum.auto()
    """Nothing was received for too long, or the attempt was aborted because probes failed."""


FAILED_STATUSES = (502, 503, 504)
"""Of a replica's response; another replica may be tried."""
NOT_PROCESSED_STATUS = 503
"""The one of these that says that the request was not processed."""
