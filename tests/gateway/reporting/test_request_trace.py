"""A request's trace becomes a record whose times fit together, whatever happened to it."""

from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.gateway.request_records import PhaseName, RequestEnd, RequestQuery, timeline
from headrace.core.gateway.routes import RouteTable
from headrace.gateway import errors
from headrace.gateway.attempt import Attempt
from headrace.gateway.http.http_request import Request
from headrace.gateway.reporting.request_log import RequestLog
from headrace.gateway.reporting.request_trace import (
    MAX_ID_BYTES,
    MAX_PATH_BYTES,
    RequestTrace,
    StreamMeter,
)
from headrace.gateway.routing.decisions import Outcome, ServiceMatch
from headrace.gateway.routing.router import Router
from headrace.gateway.routing.topology import ServiceState
from headrace.testing.route_tables import route_table, service_route, target_route

ARRIVED_AT = 1000.0
FAILURES = (Outcome.CONNECT_FAILED, Outcome.CUT, Outcome.TIMEOUT, Outcome.BAD_STATUS)


@dataclass
class Replica:
    replica_id: str
    revision: int = 1


@dataclass
class FakeAttempt:
    replica: Replica
    began_at: float
    sent_at: float
    was_sent: bool


@dataclass
class Life:
    """One request, driven as the data path drives it, by a clock of the test's own."""

    trace: RequestTrace
    now: float = ARRIVED_AT
    waits_s: list[float] = field(default_factory=list)
    num_attempts: int = 0

    def wait(self, seconds: float) -> None:
        """In the queue, until a replica is chosen."""
        self.trace.begin_wait(self.now)
        self.trace.begin_wait(self.now + seconds / 2)  # chosen for again, in vain
        self.now += seconds
        assert self.trace.total_queued_s(self.now) == pytest.approx(sum(self.waits_s) + seconds)
        self.trace.end_wait(self.now)
        self.waits_s.append(seconds)

    def attempt(self, connect_s: float, work_s: float, *, was_sent: bool = True) -> Attempt:
        self.trace.revision = 1
        self.num_attempts += 1
        began_at = self.now
        sent_at = began_at + connect_s if was_sent else began_at
        self.now = began_at + connect_s + work_s
        replica = Replica(f"r{self.num_attempts}")
        return cast("Attempt", FakeAttempt(replica, began_at, sent_at, was_sent))


def new_life() -> Life:
    request = Request()
    request.method = b"POST"
    match = ServiceMatch(ServiceState("svc"), b"/v1/x?query=1")
    return Life(RequestTrace(match, request, b"a-1", ARRIVED_AT))


seconds = st.floats(0.001, 10.0)
failed_attempts = st.lists(
    st.tuples(st.sampled_from(FAILURES), seconds, seconds, st.none() | seconds), max_size=4
)


@given(
    failed_attempts, st.none() | seconds, st.none() | st.tuples(seconds, seconds, seconds), seconds
)
def test_times_fit_together(
    failed: list[tuple[Outcome, float, float, float | None]],
    last_wait_s: float | None,
    answered: tuple[float, float, float] | None,
    in_queue_s: float,
) -> None:
    """``answered``: connect, first byte, response; None: it ends in the queue."""
    life = new_life()
    trace = life.trace
    for outcome, connect_s, work_s, wait_s in failed:
        if wait_s is not None:
            life.wait(wait_s)
        is_sent = outcome is not Outcome.CONNECT_FAILED
        trace.attempt_failed(life.attempt(connect_s, work_s, was_sent=is_sent), outcome, life.now)
    if last_wait_s is not None:
        life.wait(last_wait_s)
    if answered is None:
        trace.begin_wait(life.now)
        life.now += in_queue_s
        life.waits_s.append(in_queue_s)
        trace.end(Outcome.TIMEOUT, 503, life.now, error=errors.queue_timeout("svc", 1.0))
    else:
        connect_s, first_byte_s, response_s = answered
        attempt = life.attempt(connect_s, first_byte_s)
        trace.ttft_s = life.now - ARRIVED_AT
        life.now += response_s
        trace.end(Outcome.OK, 201, life.now, attempt)
    record = trace.record()
    assert record.end == (RequestEnd.TIMEOUT if answered is None else RequestEnd.FINISHED)
    assert record.total_s == pytest.approx(life.now - ARRIVED_AT)
    assert record.queued_s == pytest.approx(sum(life.waits_s))
    assert [one.replica_id for one in record.attempts] == [
        f"r{number}" for number in range(1, life.num_attempts + 1)
    ]
    assert record.num_retries == trace.num_retries == max(0, life.num_attempts - 1)
    phases = timeline(record)
    assert sum(one.end_s - one.begin_s for one in phases) == pytest.approx(record.total_s)
    queued_s = sum(one.end_s - one.begin_s for one in phases if one.name is PhaseName.QUEUE)
    assert queued_s == pytest.approx(record.queued_s, abs=1e-6)
    assert trace.is_undisturbed == (not failed and last_wait_s is None and answered is not None)


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (errors.upstream_cut(), RequestEnd.CUT),
        (errors.upstream_timeout("request", 1.0), RequestEnd.TIMEOUT),
        (errors.queue_timeout("svc", 1.0), RequestEnd.TIMEOUT),
        (errors.upstream_failed("svc"), RequestEnd.FAILED),
        (errors.queue_full("svc", 1), RequestEnd.REJECTED),
        (errors.request_kills_replicas("svc", 3, 600), RequestEnd.REJECTED),
    ],
)
def test_the_end_follows_from_the_error(error: errors.ErrorResponse, end: RequestEnd) -> None:
    trace = new_life().trace
    trace.end(Outcome.TIMEOUT, error.status, ARRIVED_AT + 1, error=error)
    record = trace.record()
    assert (record.end, record.error_code, record.status) == (end, error.code, error.status)


def test_a_clients_values_are_bounded() -> None:
    request = Request()
    request.method = b"GET"
    request.inspected[b"x-request-id"] = b"\xff" * 1000
    match = ServiceMatch(ServiceState("svc"), b"/" + b"p" * 10_000 + b"?q")
    trace = RequestTrace(match, request, b"a-1", ARRIVED_AT)
    trace.end(Outcome.CLIENT_DISCONNECTED, 499, ARRIVED_AT)
    record = trace.record()
    assert record.end == RequestEnd.CLIENT_DISCONNECTED
    assert len(record.request_id) == MAX_ID_BYTES
    assert len(record.path) == MAX_PATH_BYTES


@given(st.lists(st.lists(seconds, max_size=20), max_size=5))
def test_a_stream_is_measured_in_parts(parts: list[list[float]]) -> None:
    meter = StreamMeter("m")
    taken: list[float] = []
    for part in parts:
        for gap_s in part:
            meter.note_gap(gap_s)
        assert meter.num_pending == len(part)
        taken += meter.take()
    gaps = [gap_s for part in parts for gap_s in part]
    assert taken == gaps
    assert meter.num_gaps == len(gaps)
    assert meter.sum_s == pytest.approx(sum(gaps))
    assert meter.max_s == max(gaps, default=0.0)


@given(
    num_records=st.integers(0, 5),
    statuses=st.lists(st.sampled_from([200, 404, 429, 500, 503]), max_size=20),
    limit=st.integers(1, 10),
    data=st.data(),
)
def test_pages_have_each_stored_request_once(
    num_records: int, statuses: list[int], limit: int, data: Any
) -> None:
    router = Router(0.0)
    table: RouteTable = route_table(service_route(target_route(1, 100, (1,)), name="svc"))
    router.replace_table(table, 0.0)
    service = router.services["svc"]
    log = RequestLog(router, num_records)
    for number, status in enumerate(statuses):
        match = ServiceMatch(service, b"/v1/x")
        trace = RequestTrace(match, Request(), b"id-%d" % number, ARRIVED_AT + number)
        trace.end(Outcome.OK, status, ARRIVED_AT + number + 0.5)
        log.ended(service, trace, None, status >= 500)
    kept = [(f"id-{number}", status) for number, status in enumerate(statuses)][-num_records:]
    kept = kept if num_records else []
    pages: list[tuple[str, int]] = []
    before = None
    while page := log.find(RequestQuery(limit=limit, before=before)):
        assert len(page) <= limit
        pages = [(one.record_id, one.status) for one in page] + pages
        before = page[0].record_id
    assert pages == kept
    wanted = data.draw(st.sampled_from(["200", "4xx", "5xx"]))
    found = log.find(RequestQuery(status=wanted))
    matching = [one for one in kept if wanted in (str(one[1]), f"{one[1] // 100}xx")]
    assert [(one.record_id, one.status) for one in found] == matching
    counted = service.traffic_of(None, "", "")
    assert sum(counted.responses.values()) == len(statuses)
    assert counted.num_failed == sum(status >= 500 for status in statuses)
