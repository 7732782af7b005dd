from headrace.core.generation.request import Request
from headrace.core.generation.sampling_params import SamplingParams
from headrace.scheduler.queue import WaitingQueue


def make_request(request_id: str) -> Request:
    return Request(request_id, [1], SamplingParams(), 1, 0.0)


def drain(queue: WaitingQueue) -> list[str]:
    order = []
    while (request := queue.first()) is not None:
        queue.remove(request)
        order.append(request.request_id)
    return order


def test_first_come_first_served() -> None:
    queue = WaitingQueue()
    for request_id in "abc":
        queue.append(make_request(request_id))
    assert len(queue) == 3
    assert drain(queue) == ["a", "b", "c"]
    assert len(queue) == 0


def test_preempted_requests_go_to_the_front() -> None:
    queue = WaitingQueue()
    queue.append(make_request("new"))
    queue.push_front(make_request("young"))
    queue.push_front(make_request("old"))
    assert drain(queue) == ["old", "young", "new"]


def test_removing_from_the_middle_keeps_the_order() -> None:
    queue = WaitingQueue()
    requests = [make_request(request_id) for request_id in "abc"]
    for request in requests:
        queue.append(request)
    queue.remove(requests[1])
    assert drain(queue) == ["a", "c"]
