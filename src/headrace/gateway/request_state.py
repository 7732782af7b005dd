"""The states of a request's life, and the statuses that move it from one to the next.

    state      on                              then
    HELD       a replica can take it           ASKED
    HELD       its time in line is over        ENDED, with 503
    HELD       all have failed it and are well ENDED, with 502
    ASKED      no connection                   another replica, or HELD
    ASKED      the answer's first piece        ANSWERING; nothing can be taken back from now on
    ASKED      502, 503 or 504                 another replica, or else ANSWERING
    ASKED      cut, or the replica is dead     another replica, or HELD; after MAX_NUM_RETRIES
                                               ENDED, with 502, or 422 if it crashes its replicas
    ANSWERING  the answer is whole             ENDED
    ANSWERING  cut, or the replica is dead     ENDED; a stream with an error event
    any        time is over                    ENDED; a stream with an error event, else 504
    any        the client is gone              ENDED; the replica's connection is closed at once

Names only; `exchange` has the life.
"""

import enum


class State(enum.Enum):
    HELD = enum.auto()
    """It waits in line for a replica."""
    ASKED = enum.auto()
    """A replica has it, or is being connected to."""
    ANSWERING = enum.auto()
    """The client has the begin of its answer."""
    ENDED = enum.auto()


CLIENT_GONE_STATUS = 499
"""What is counted, after nginx, when the client has left."""
FAILED_STATUSES = (502, 503, 504)
"""A replica's, after which another one may be asked."""
NOT_BEGUN_STATUS = 503
"""Of these, the one that says that nothing was done for the request."""
ERROR_STATUS = 500
"""And above: the replica may be about to end."""
