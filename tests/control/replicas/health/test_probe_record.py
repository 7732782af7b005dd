"""A silent replica has failed, or is at work: its processes and the gateway tell."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.control.replicas.health.activity import Activity
from headrace.control.replicas.health.probe_record import ProbeRecord
from headrace.control.replicas.health.probes import ProbeResult

WELL = ProbeResult(True, "GET /health answered 200")
ERROR = ProbeResult(False, "GET /health answered 500")
SILENT = ProbeResult(False, "no answer within 5 s", is_timeout=True)


def probe(
    record: ProbeRecord, began_s: float, result: ProbeResult, work: Activity | None = None
) -> None:
    record.ended(result, work, began_s, began_s + 5)


def test_failures_in_a_row_are_counted_until_it_is_well() -> None:
    record = ProbeRecord()
    for began_s, result, work in ((0, ERROR, None), (5, SILENT, Activity.IDLE), (10, ERROR, None)):
        probe(record, began_s, result, work)
    assert record.num_failed == 3
    probe(record, 15, WELL)
    assert record.num_failed == 0
    assert record.unresponsive_s == 0


def test_silence_at_work_is_no_failure_and_its_length_is_known() -> None:
    record = ProbeRecord()
    for began_s in (0, 5, 10):
        probe(record, began_s, SILENT, Activity.BUSY)
    assert (record.num_failed, record.num_timeouts_while_busy, record.unresponsive_s) == (0, 3, 15)
    probe(record, 15, SILENT, Activity.IDLE)
    assert (record.num_failed, record.num_timeouts_while_busy, record.unresponsive_s) == (1, 0, 20)


def test_what_the_gateway_hears_shows_that_it_lives() -> None:
    record = ProbeRecord()
    probe(record, 0, SILENT, Activity.IDLE)
    probe(record, 5, SILENT, Activity.IDLE)
    record.heard(4.0)  # before the second, and after the first of those that failed
    assert record.num_failed == 0
    probe(record, 10, SILENT, Activity.IDLE)
    assert (record.num_failed, record.unresponsive_s) == (1, 11)
    record.heard(3.9)
    record.heard(4.1)  # the same thing, told a little less exactly
    assert record.num_failed == 1
    record.heard(16.0)
    probe(record, 15, SILENT, Activity.IDLE)
    assert (record.num_failed, record.num_timeouts_while_busy, record.unresponsive_s) == (0, 1, 4)


def test_an_error_is_a_failure_whatever_the_gateway_hears() -> None:
    record = ProbeRecord()
    for began_s in (0, 5, 10):
        probe(record, began_s, ERROR)
        record.heard(began_s + 5)
    assert record.num_failed == 3


def test_a_stopped_one_is_stopped_as_long_as_it_is_silent() -> None:
    record = ProbeRecord()
    probe(record, 0, SILENT, Activity.STOPPED)
    assert record.is_stopped
    assert record.num_failed == 1
    probe(record, 5, WELL)
    assert not record.is_stopped


@given(
    st.lists(
        st.tuples(
            st.sampled_from([WELL, ERROR, SILENT]),
            st.sampled_from(Activity),
            st.none() | st.floats(0, 5),
        ),
        max_size=30,
    )
)
def test_one_that_is_idle_and_unheard_of_fails_every_probe(
    history: list[tuple[ProbeResult, Activity, float | None]],
) -> None:
    """Whatever came before, three silent probes without a sign of life are three failures."""
    record = ProbeRecord()
    began_s = 0.0
    for result, work, heard_s in history:
        probe(record, began_s, result, work)
        if heard_s is not None:
            record.heard(began_s + heard_s)
        began_s += 5
        assert 0 <= record.unresponsive_s <= began_s
        assert record.num_failed == 0 or record.num_timeouts_while_busy == 0
    before = record.num_failed
    for number in range(1, 4):
        probe(record, began_s, SILENT, Activity.IDLE)
        began_s += 5
        assert record.num_failed in (number, before + number)
