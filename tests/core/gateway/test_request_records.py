"""The timeline of a request covers its whole time."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.gateway.request_records import (
    AttemptRecord,
    PhaseName,
    RequestRecord,
    timeline,
)

Draw = st.DrawFn


@st.composite
def records(draw: Draw) -> RequestRecord:
    """Attempts in their order, with times as the gateway can write them."""
    times = st.floats(min_value=0.0, max_value=10.0, allow_nan=False)
    now, attempts = 0.0, []
    ttft_s = None
    num_attempts = draw(st.integers(0, 4))
    for number in range(num_attempts):
        began_s = now + draw(times)
        is_sent = draw(st.booleans())
        sent_s = began_s + draw(times) if is_sent else None
        now = (sent_s or began_s) + draw(times)
        if number == num_attempts - 1 and sent_s is not None and draw(st.booleans()):
            ttft_s = now
            now += draw(times)
        attempts.append(AttemptRecord(f"r{number}", 1, began_s, sent_s, now, "cut"))
    return RequestRecord(
        record_id="a-1",
        request_id="a-1",
        service="svc",
        arrived_at=1000.0,
        method="POST",
        path="/v1/completions",
        status=200,
        end="finished",
        total_s=now + draw(times),
        queued_s=0.0,
        ttft_s=ttft_s,
        attempts=tuple(attempts),
    )


@given(records())
def test_the_phases_are_contiguous_and_cover_the_whole_time(record: RequestRecord) -> None:
    phases = timeline(record)
    assert all(phase.end_s > phase.begin_s for phase in phases)
    at = 0.0
    for phase in phases:
        assert phase.begin_s == at
        at = phase.end_s
    assert at == record.total_s
    assert all((phase.replica_id is None) == (phase.name is PhaseName.QUEUE) for phase in phases)


@given(records())
def test_a_record_survives_json(record: RequestRecord) -> None:
    assert msgspec.json.decode(msgspec.json.encode(record), type=RequestRecord) == record


def test_a_retried_stream_has_all_phases() -> None:
    attempts = (
        AttemptRecord("r1", 1, 1.0, None, 2.0, "connect_failed"),
        AttemptRecord("r2", 1, 2.0, 2.5, 4.0, "cut"),
        AttemptRecord("r3", 1, 5.0, 5.0, 9.0, "ok", 200),
    )
    record = RequestRecord(
        *("a-1", "a-1", "svc", 1000.0, "POST", "/v1/completions", 200, "finished", 9.0, 2.0),
        ttft_s=6.0,
        attempts=attempts,
    )
    assert [
        (phase.name.value, phase.begin_s, phase.end_s, phase.replica_id, phase.outcome)
        for phase in timeline(record)
    ] == [
        ("queue", 0.0, 1.0, None, None),
        ("connect", 1.0, 2.0, "r1", "connect_failed"),
        ("connect", 2.0, 2.5, "r2", None),
        ("first_byte", 2.5, 4.0, "r2", "cut"),
        ("queue", 4.0, 5.0, None, None),
        ("first_byte", 5.0, 6.0, "r3", None),
        ("response", 6.0, 9.0, "r3", "ok"),
    ]
    assert record.num_retries == 2
