"""The states of a proxied request, and its client.

state       event                            next state
QUEUED      a replica can take it            SENT
QUEUED      its queue timeout is over        DONE, with 503
QUEUED      all replicas failed it           DONE, with 502
SENT        no connection                    SENT to another replica, or QUEUED
SENT        the response's first bytes, of   RESPONDING; from here on it cannot be retried
            its body if its head is held
SENT        502, 503 or 504                  SENT to another replica, or else RESPONDING
SENT        cut, or the replica is dead      SENT to another replica, or QUEUED; after
                                             MAX_NUM_RETRIES DONE, with 502, or 422 if it
                                             crashes its replicas
RESPONDING  the response is complete         DONE
RESPONDING  cut, or the replica is dead      DONE; a stream with an error event
any         a timeout                        DONE; a stream with an error event, else 504
any         the client has disconnected      DONE; the connection to the replica is closed
"""

from __future__ import annotations

import enum
from typing import Protocol

from headrace.gateway.http.http_request import Peer


class State(enum.Enum):
    QUEUED = enum.auto()
    SENT = enum.auto()
    """A replica has it, or is being connected to."""
    RESPONDING = enum.auto()
    """The client has the beginning of its response."""
    DONE = enum.auto()


CLIENT_DISCONNECTED_STATUS = 499
"""Counted when the client has disconnected; after nginx."""


class Client(Protocol):
    """The connection that the request came from."""

    @property
    def is_paused(self) -> bool:
        """Its write buffer is full."""

    @property
    def peer(self) -> Peer: ...

    def write(self, data: bytes) -> None: ...

    def response_complete(self, is_last: bool) -> None:
        """``is_last``: the connection is to be closed."""

    def cut(self, by_reset: bool) -> None:
        """The response will not be complete: close the connection after what was written;
        ``by_reset``: so that the client does not take that for the end of the response."""
