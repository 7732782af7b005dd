"""The queue of waiting requests: first come first served, or by priority."""

import heapq
from collections import OrderedDict
from typing import Literal, Protocol

from headrace.core.generation.request import Request

SchedulingPolicy = Literal["fcfs", "priority"]


class RequestQueue(Protocol):
    """The waiting requests. An id is in the queue at most once."""

    def __len__(self) -> int: ...

    def first(self) -> Request | None:
        """The next request to admit; None if the queue is empty."""

    def append(self, request: Request) -> None:
        """Queue a new request behind all others of its rank."""

    def push_front(self, request: Request) -> None:
        """Queue a preempted or held back request before all others of its rank."""

    def remove(self, request: Request) -> None:
        """Remove a request from anywhere in the queue."""


def create_queue(policy: SchedulingPolicy) -> RequestQueue:
    """An empty queue."""
    return PriorityQueue() if policy == "priority" else WaitingQueue()


class WaitingQueue:
    """First come first served: all requests have one rank. Every operation costs O(1) per request,
    removal from the middle included."""

    def __init__(self) -> None:
        self._requests: OrderedDict[str, Request] = OrderedDict()

    def __len__(self) -> int:
        return len(self._requests)

    def first(self) -> Request | None:
        return next(iter(self._requests.values()), None)

    def append(self, request: Request) -> None:
        self._requests[request.request_id] = request

    def push_front(self, request: Request) -> None:
        self._requests[request.request_id] = request
        self._requests.move_to_end(request.request_id, last=False)

    def remove(self, request: Request) -> None:
        del self._requests[request.request_id]


class PriorityQueue:
    """The lowest priority value first, then the earliest arrival. Every operation costs O(log n),
    amortized."""

    def __init__(self) -> None:
        self._numbers: dict[Request, int] = {}
        """Of the requests in the queue: the number of each one's entry in the heap."""
        self._heap: list[tuple[int, float, int, Request]] = []
        """Priority, arrival time, number, request. Entries of removed requests are dropped when
        they get to the top, or when they are most of the heap."""
        self._last, self._front = 0, 0

    def __len__(self) -> int:
        return len(self._numbers)

    def first(self) -> Request | None:
        self._drop_removed()
        return self._heap[0][-1] if self._heap else None

    def append(self, request: Request) -> None:
        self._last += 1
        self._push(request, self._last)

    def push_front(self, request: Request) -> None:
        self._front -= 1
        self._push(request, self._front)

    def remove(self, request: Request) -> None:
        del self._numbers[request]
        if len(self._heap) > 2 * len(self._numbers) + 16:
            self._heap = [entry for entry in self._heap if self._is_current(entry)]
            heapq.heapify(self._heap)

    def _push(self, request: Request, number: int) -> None:
        self._numbers[request] = number
        heapq.heappush(self._heap, (request.priority, request.arrival_time, number, request))

    def _drop_removed(self) -> None:
        while self._heap and not self._is_current(self._heap[0]):
            heapq.heappop(self._heap)

    def _is_current(self, entry: tuple[int, float, int, Request]) -> bool:
        *_, number, request = entry
        return self._numbers.get(request) == number
