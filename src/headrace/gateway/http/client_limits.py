"""How much, and how long, a client may keep its connection waiting, whatever service it is for.

Numbers only; what a service allows is in its route.
"""

MAX_NUM_HEAD_BYTES = 64 * 1024
"""Of a head, or of trailers, that do not end."""
MAX_NUM_PIECES = 64
"""Of a body that are kept as they came; an object for each would make a lot of a few bytes."""
MAX_SPARED_BYTES = 64 * 1024
"""A refused request's body, if it is not longer, is read to its end, and the connection goes on."""
MAX_NUM_MISSES = 8
"""After so many requests whose heads differed, heads are not compared any more."""
MAX_READ_S = 60.0
"""Between two pieces of a request, and for all of its head. Its body may take as long as its
service allows a request."""
MAX_WRITE_S = 60.0
"""How long a client may take nothing of what waits for it, when its answer is over."""
MAX_IDLE_S = 90.0
"""Longer than clients keep idle connections in their pools, so that they close them first."""
MAX_LINGER_S = 5.0
"""How long a client that was refused may be silent before the connection is cut."""
MAX_SENDING_S = 30.0
"""How long it may go on sending."""
DRAIN_IDLE_S = 1.0
"""While draining, a connection that has been idle for so long is closed. Sooner, a request may
just be under way."""
