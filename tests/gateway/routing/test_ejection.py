"""A replica that fails goes out, and always comes back once it is well."""

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


def test_a_refused_connection_ejects_at_once_even_the_last():
    health = Health()
    assert fail(health, 0.0, is_certain=True, is_last=True) is HealthChange.EJECTED
    assert health.is_ejected


def test_bad_luck_ejects_the_third_time_in_a_row():
    health = Health()
    assert [fail(health, now) for now in (0.0, 1.0, 2.0)] == [
        HealthChange.NONE,
        HealthChange.NONE,
        HealthChange.EJECTED,
    ]


def test_a_success_or_time_between_forgives_bad_luck():
    health = Health()
    fail(health, 0.0)
    fail(health, 1.0)
    health.succeeded()
    assert fail(health, 2.0) is HealthChange.NONE
    assert fail(health, 3.0) is HealthChange.NONE
    assert fail(health, 3.1 + FAILURE_WINDOW_S) is HealthChange.NONE
    assert not health.is_ejected


def test_bad_luck_does_not_eject_the_last_but_has_it_probed():
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


def test_only_the_silent_are_asked_whether_they_live():
    health = Health()
    assert not health.needs_probe(100.0, None)
    assert not health.needs_probe(100.0, 100.0 - MIN_RESPONSE_GRACE_S)
    assert health.needs_probe(100.0, 99.9 - MIN_RESPONSE_GRACE_S)


def test_one_that_was_silent_but_not_dead_is_given_more_time():
    health = Health()
    health.probed(SILENT, 10.0)
    assert health.probed(SILENT, 12.0) is HealthChange.EJECTED
    assert health.probed(WELL, 13.0) is HealthChange.RESTORED
    assert not health.needs_probe(100.0, 100.0 - MIN_RESPONSE_GRACE_S * RESPONSE_GRACE_GROWTH)
    assert health.needs_probe(100.0, 99.9 - MIN_RESPONSE_GRACE_S * RESPONSE_GRACE_GROWTH)


def test_an_answer_brings_back_one_that_was_only_silent():
    health = Health()
    health.probed(SILENT, 10.0)
    assert health.probed(SILENT, 12.0) is HealthChange.EJECTED
    assert health.succeeded() is HealthChange.RESTORED
    assert not health.is_ejected
    assert not health.needs_probe(1000.0, None)
    assert not health.needs_probe(100.0, 100.0 - MIN_RESPONSE_GRACE_S * RESPONSE_GRACE_GROWTH)


def test_an_answer_does_not_bring_back_one_that_refuses_connections():
    """It may be finishing what it has."""
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
def test_what_is_silent_keeps_what_it_has_and_what_is_certainly_unwell_does_not(outcomes, verdict):
    health = Health()
    first, second = outcomes
    assert health.probed(first, 10.0) is HealthChange.NONE
    assert health.probed(second, 12.0) is verdict


def test_one_failed_probe_is_asked_again_and_forgiven():
    health = Health()
    assert health.probed(UNWELL, 10.0) is HealthChange.NONE
    assert health.needs_probe(10.0, None)
    assert health.probed(WELL, 10.1) is HealthChange.NONE
    assert not health.needs_probe(1000.0, None)


def test_an_ejected_one_is_probed_ever_less_often_and_comes_back():
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


def test_one_that_fails_right_after_coming_back_waits_longer():
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
def test_whatever_happened_good_probes_bring_it_back(events):
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
