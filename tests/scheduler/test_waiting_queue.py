import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.generation.request import Request
from headrace.core.generation.sampling_params import SamplingParams
from headrace.scheduler.queue import RequestQueue, SchedulingPolicy, create_queue


def make_request(request_id: str, priority: int = 0, arrival_time: float = 0.0) -> Request:
    return Request(request_id, [1], SamplingParams(), 1, arrival_time, priority=priority)


def drain(queue: RequestQueue) -> list[str]:
    order = []
    while (request := queue.first()) is not None:
        queue.remove(request)
        order.append(request.request_id)
    return order


@pytest.fixture(params=["fcfs", "priority"])
def queue(request: pytest.FixtureRequest) -> RequestQueue:
    """An empty queue of each policy; with one priority, all do the same."""
    policy: SchedulingPolicy = request.param
    return create_queue(policy)


def test_first_come_first_served(queue: RequestQueue) -> None:
    for request_id in "abc":
        queue.append(make_request(request_id))
    assert len(queue) == 3
    assert drain(queue) == ["a", "b", "c"]
    assert len(queue) == 0


def test_preempted_requests_go_to_the_front(queue: RequestQueue) -> None:
    queue.append(make_request("new"))
    queue.push_front(make_request("young"))
    queue.push_front(make_request("old"))
    assert drain(queue) == ["old", "young", "new"]


def test_removing_from_the_middle_keeps_the_order(queue: RequestQueue) -> None:
    requests = [make_request(request_id) for request_id in "abc"]
    for request in requests:
        queue.append(request)
    queue.remove(requests[1])
    assert drain(queue) == ["a", "c"]


def test_lower_values_are_first_and_then_earlier_arrivals() -> None:
    queue = create_queue("priority")
    for request_id, priority, arrival_time in (("a", 1, 0.0), ("b", 0, 2.0), ("c", 0, 1.0)):
        queue.append(make_request(request_id, priority, arrival_time))
    queue.push_front(make_request("d", 2, 0.0))
    assert drain(queue) == ["c", "b", "a", "d"]


@given(st.lists(st.tuples(st.integers(-2, 2), st.booleans()), max_size=60))
def test_a_priority_queue_forgets_removed_requests(operations: list[tuple[int, bool]]) -> None:
    queue = create_queue("priority")
    waiting: list[Request] = []
    for number, (priority, removes) in enumerate(operations):
        if removes and waiting:
            queue.remove(waiting.pop(number % len(waiting)))
        else:
            waiting.append(make_request(str(number), priority, float(number)))
            queue.append(waiting[-1])
        assert len(queue) == len(waiting)
        if waiting and number % 3 == 0:  # the same request comes back, as after a preemption
            first = queue.first()
            assert first is not None
            queue.remove(first)
            queue.push_front(first)
    expected = sorted(waiting, key=lambda each: (each.priority, each.arrival_time))
    assert drain(queue) == [request.request_id for request in expected]
