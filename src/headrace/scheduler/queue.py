"""Requests that wait for their turn, first come first served. Knows no budget and no blocks."""

from collections import OrderedDict

from headrace.core.request import Request


class WaitingQueue:
    """Every operation costs O(1) for each request it names, leaving from the middle included."""

    def __init__(self) -> None:
        self._requests: OrderedDict[str, Request] = OrderedDict()

    def __len__(self) -> int:
        return len(self._requests)

    def first(self) -> Request | None:
        """Whose turn it is."""
        return next(iter(self._requests.values()), None)

    def append(self, request: Request) -> None:
        """Queue a new request behind all others."""
        self._requests[request.request_id] = request

    def push_front(self, request: Request) -> None:
        """Queue a request that had its turn before ahead of all others."""
        self._requests[request.request_id] = request
        self._requests.move_to_end(request.request_id, last=False)

    def remove(self, request: Request) -> None:
        """Let a request leave, wherever it stands."""
        del self._requests[request.request_id]
