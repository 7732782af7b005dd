"""The queue of waiting requests, first come first served."""

from collections import OrderedDict

from headrace.core.generation.request import Request


class WaitingQueue:
    """Every operation costs O(1) per request, removal from the middle included."""

    def __init__(self) -> None:
        self._requests: OrderedDict[str, Request] = OrderedDict()

    def __len__(self) -> int:
        return len(self._requests)

    def first(self) -> Request | None:
        """The next request to admit; None if the queue is empty."""
        return next(iter(self._requests.values()), None)

    def append(self, request: Request) -> None:
        """Queue a new request behind all others."""
        self._requests[request.request_id] = request

    def push_front(self, request: Request) -> None:
        """Queue a preempted or held back request before all others."""
        self._requests[request.request_id] = request
        self._requests.move_to_end(request.request_id, last=False)

    def remove(self, request: Request) -> None:
        """Remove a request from anywhere in the queue."""
        del self._requests[request.request_id]
