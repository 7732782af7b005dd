"""A failing replica is ejected, and restored once it is healthy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.gateway.routing.ejection import (
    FAILURE_WINDOW_S,
    MAX_PROBE_INTERVAL_S,
    MIN_RESPONSE_GRACE_S,
    RESPONSE_GRACE_GROWTH,
    Health,
    HealthChange,
    ProbeOutcome,
)

WELL, UNWELL, SILENT = ProbeOutcome.HEALTHY, ProbeOutcome.UNHEALTHY, ProbeOutcome.UNRESPONSIVE


def fail(
    health: Health, now: float, *, is_certain: bool = False, is_last: bool = False
) -> HealthChange:
    return health.failed(now, is_certain=is_certain, is_last=is_last)


def test_a_refused_connection_ejects_at_once_even_the_last_replica():
    health = Health()
    assert fail(health, 0.0, is_certain=True, is_last=True) is HealthChange.EJECTED
    assert health.is_ejected


def test_three_consecutive_failures_eject():
    health = Health()
    assert [fail(health, now) for now in (0.0, 1.0, 2.0)] == [
        HealthChange.NONE,
        HealthChange.NONE,
        HealthChange.EJECTED,
    ]


def test_a_success_or_a_pause_resets_the_failure_count():
    health = Health()
    fail(health, 0.0)
    fail(health, 1.0)
    health.succeeded()
    assert fail(health, 2.0) is HealthChange.NONE
    assert fail(health, 3.0) is HealthChange.NONE
    assert fail(health, 3.1 + FAILURE_WINDOW_S) is HealthChange.NONE
    assert not health.is_ejected


def test_failures_do_not_eject_the_last_replica_but_probe_it():
    health = Health()
    for number in range(20):
        assert fail(health, number * 0.1, is_last=True) is HealthChange.NONE
    assert health.needs_probe(2.0, None)
    health.is_probing = True
    assert not health.needs_probe(2.0, None)
    assert health.probed(UNWELL, 2.0) is HealthChange.NONE
    assert health.needs_probe(2.0, None)
    assert health.probed(UNWELL, 2.1) is HealthChange.DEAD
    assert health.is_ejected


def test_only_replicas_past_the_response_timeout_are_probed():
    health = Health()
    assert not health.needs_probe(100.0, None)
    assert not health.needs_probe(100.0, 100.0 - MIN_RESPONSE_GRACE_S)
    assert health.needs_probe(100.0, 99.9 - MIN_RESPONSE_GRACE_S)


def test_a_replica_that_passed_a_probe_gets_a_longer_timeout():
    health = Health()
    health.probed(SILENT, 10.0)
    assert health.probed(SILENT, 12.0) is HealthChange.EJECTED
    assert health.probed(WELL, 13.0) is HealthChange.RESTORED
    assert not health.needs_probe(100.0, 100.0 - MIN_RESPONSE_GRACE_S * RESPONSE_GRACE_GROWTH)
    assert health.needs_probe(100.0, 99.9 - MIN_RESPONSE_GRACE_S * RESPONSE_GRACE_GROWTH)


def test_a_response_restores_an_unresponsive_replica():
    health = Health()
    health.probed(SILENT, 10.0)
    assert health.probed(SILENT, 12.0) is HealthChange.EJECTED
    assert health.succeeded() is HealthChange.RESTORED
    assert not health.is_ejected
    assert not health.needs_probe(1000.0, None)
    assert not health.needs_probe(100.0, 100.0 - MIN_RESPONSE_GRACE_S * RESPONSE_GRACE_GROWTH)


def test_a_response_does_not_restore_a_replica_that_refuses_connections():
    """It may be completing its last requests."""
    health = Health()
    fail(health, 0.0, is_certain=True)
    assert health.succeeded() is HealthChange.NONE
    assert health.is_ejected


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        ((SILENT, SILENT), HealthChange.EJECTED),
        ((UNWELL, SILENT), HealthChange.EJECTED),
        ((SILENT, UNWELL), HealthChange.DEAD),
        ((UNWELL, UNWELL), HealthChange.DEAD),
    ],
)
def test_probe_outcomes_decide_whether_requests_are_aborted(outcomes, verdict):
    health = Health()
    first, second = outcomes
    assert health.probed(first, 10.0) is HealthChange.NONE
    assert health.probed(second, 12.0) is verdict


def test_a_single_failed_probe_is_repeated():
    health = Health()
    assert health.probed(UNWELL, 10.0) is HealthChange.NONE
    assert health.needs_probe(10.0, None)
    assert health.probed(WELL, 10.1) is HealthChange.NONE
    assert not health.needs_probe(1000.0, None)


def test_an_ejected_replica_is_probed_with_backoff_and_restored():
    health = Health()
    fail(health, 0.0, is_certain=True)
    now = 0.0
    waits = []
    for _ in range(8):
        assert not health.needs_probe(health.probe_at - 0.001, 0.0)
        waits.append(health.probe_at - now)
        now = health.probe_at
        assert health.needs_probe(now, None)
        assert health.probed(UNWELL, now) is HealthChange.NONE
    assert waits == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]
    assert health.probed(WELL, health.probe_at) is HealthChange.RESTORED
    assert not health.is_ejected


def test_a_replica_that_fails_soon_after_its_return_is_ejected_for_longer():
    health = Health()
    waits = []
    now = 0.0
    for _ in range(3):
        fail(health, now, is_certain=True)
        waits.append(health.probe_at - now)
        now = health.probe_at
        health.probed(WELL, now)
    health.succeeded()
    fail(health, now, is_certain=True)
    waits.append(health.probe_at - now)
    assert waits == [0.25, 0.5, 1.0, 0.25]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["certain", "luck", "ok", *ProbeOutcome]),
            st.floats(0, 5),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_successful_probes_always_restore_a_replica(events):
    health = Health()
    now = 0.0
    for kind, later, is_last in events:
        now += later
        if kind == "ok":
            health.succeeded()
        elif kind in ("certain", "luck"):
            fail(health, now, is_certain=kind == "certain", is_last=is_last)
        elif health.needs_probe(now, None):
            health.probed(kind, now)
    now += MAX_PROBE_INTERVAL_S
    if health.is_ejected:
        assert health.needs_probe(now, None)
        assert health.probed(WELL, now) is HealthChange.RESTORED
    assert not health.is_ejected
