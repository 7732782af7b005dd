import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.control.scaling.autoscaler import (
    CapacityObservation,
    Decision,
    Recommendation,
    ScalingReason,
    ScalingState,
    SignalValues,
    decide,
)
from headrace.control.scaling.autoscaling_policy import (
    LOAD_SIGNALS,
    RESPONSE_SIGNALS,
    UTILIZATION_SIGNALS,
    AutoscalingPolicy,
    Signal,
)

STEP_S = 5.0
CONCURRENCY = AutoscalingPolicy(min=1, max=20, signal=Signal.CONCURRENCY, target=4.0)
QUEUE_TIME = AutoscalingPolicy(min=1, max=20, signal=Signal.QUEUE_TIME, target=1.0)

Measure = Callable[[float, int], Mapping[Signal, float]]
"""The signals at a moment, with so many ready replicas."""


class Simulation:
    """Decides every few seconds; what is decided is ready ``startup_s`` later."""

    def __init__(
        self, policy: AutoscalingPolicy, measure: Measure, num_desired: int, startup_s: float = 0.0
    ) -> None:
        self.policy = policy
        self.measure = measure
        self.num_desired = num_desired
        self.startup_s = startup_s
        self.state = ScalingState()
        self.now_s = 1000.0
        self.ready_at_s = [0.0] * num_desired
        self.counts = [num_desired]

    def run(self, duration_s: float) -> None:
        end_s = self.now_s + duration_s
        while self.now_s < end_s:
            num_ready = sum(at_s <= self.now_s for at_s in self.ready_at_s)
            values = self.measure(self.now_s, num_ready)
            samples = SignalValues(num_ready, values, num_waiting=0, num_outstanding=1)
            decision = decide(self.policy, samples, self.num_desired, self.state, self.now_s)
            self.state = decision.state
            self.num_desired = decision.num_desired
            grown = self.num_desired - len(self.ready_at_s)
            self.ready_at_s += [self.now_s + self.startup_s] * grown
            del self.ready_at_s[self.num_desired :]
            self.counts.append(self.num_desired)
            self.now_s += STEP_S

    @property
    def num_changes(self) -> int:
        return sum(a != b for a, b in zip(self.counts, self.counts[1:], strict=False))


def once(policy: AutoscalingPolicy, samples: SignalValues, num_desired: int) -> Decision:
    return decide(policy, samples, num_desired, ScalingState(), 0.0)


def busy(num_ready: int, signal: Signal, value: float, rps: float = 1.0) -> SignalValues:
    return SignalValues(num_ready, {Signal.RPS: rps, signal: value}, 0, 1)


@pytest.mark.parametrize("signal", sorted(LOAD_SIGNALS))
def test_load_calls_for_as_many_replicas_as_bear_it_at_the_target(signal: Signal) -> None:
    policy = replace(CONCURRENCY, signal=signal)
    decided = once(policy, SignalValues(1, {signal: 22.0}, 0, 22), 1)
    assert decided.num_desired == 6
    assert decided.reason is ScalingReason.SIGNAL
    assert str(signal) in decided.why


@pytest.mark.parametrize("signal", sorted(UTILIZATION_SIGNALS))
def test_utilization_calls_for_as_many_replicas_as_bring_the_mean_to_the_target(
    signal: Signal,
) -> None:
    policy = AutoscalingPolicy(min=1, max=20, signal=signal, target=60.0)
    assert once(policy, busy(3, signal, 90.0), 3).num_desired == 5  # 3 x 90 / 60 = 4.5


@pytest.mark.parametrize("signal", sorted(RESPONSE_SIGNALS))
def test_response_signals_grow_the_replicas_in_bounded_steps(signal: Signal) -> None:
    policy = replace(QUEUE_TIME, signal=signal)
    assert once(policy, busy(2, signal, 1.3), 2).num_desired == 3
    assert once(policy, busy(2, signal, 50.0), 2).num_desired == 4


def test_within_the_tolerance_nothing_changes() -> None:
    for each in (3.61, 4.0, 4.39):
        samples = SignalValues(3, {Signal.CONCURRENCY: each * 3}, 0, 12)
        assert once(CONCURRENCY, samples, 3).num_desired == 3


def test_what_cannot_be_measured_changes_nothing_and_says_so() -> None:
    decided = once(QUEUE_TIME, SignalValues(2, {}, 0, 5), 2)
    assert decided.num_desired == 2
    assert decided.reason is ScalingReason.SIGNAL_UNKNOWN
    assert "queue_time" in decided.why


@pytest.mark.parametrize("signal", sorted(UTILIZATION_SIGNALS | RESPONSE_SIGNALS))
def test_replicas_that_are_still_starting_are_capacity_to_come(signal: Signal) -> None:
    policy = AutoscalingPolicy(min=1, max=20, signal=signal, target=50.0)
    first = once(policy, busy(1, signal, 100.0), 1)
    assert first.num_desired == 2
    second = decide(policy, busy(1, signal, 100.0), 2, first.state, STEP_S)
    assert second.num_desired == 2


def test_bounds_hold_whatever_is_measured_and_a_new_minimum_is_met_at_once() -> None:
    assert (
        once(CONCURRENCY, SignalValues(1, {Signal.CONCURRENCY: 4000.0}, 0, 9), 1).num_desired == 20
    )
    assert once(replace(CONCURRENCY, min=3), SignalValues(0, {}), 1).num_desired == 3
    assert once(replace(CONCURRENCY, min=3), SignalValues(0, {}), 0).num_desired == 3
    assert once(replace(CONCURRENCY, max=2), SignalValues(5, {}), 5).num_desired == 2


def test_replicas_go_when_nothing_in_the_whole_window_needed_them() -> None:
    loads = {1000.0: 40.0, 1100.0: 24.0}
    simulation = Simulation(
        CONCURRENCY, lambda now_s, _: {Signal.CONCURRENCY: loads.get(now_s, 4.0)}, 1
    )
    simulation.run(295)
    assert simulation.num_desired == 10
    simulation.run(10)
    assert simulation.num_desired == 6  # the most of the last 300 s
    simulation.run(100)
    assert simulation.num_desired == 1


def test_with_an_up_window_a_short_rush_starts_nothing() -> None:
    policy = replace(CONCURRENCY, up_window_s=30.0)
    rush = Simulation(
        policy, lambda now_s, _: {Signal.CONCURRENCY: 40.0 if now_s < 1025 else 4.0}, 1
    )
    rush.run(200)
    assert rush.counts == [1] * len(rush.counts)
    lasting = Simulation(policy, lambda now_s, _: {Signal.CONCURRENCY: 40.0}, 1)
    lasting.run(40)
    assert lasting.num_desired == 10


ZERO = replace(CONCURRENCY, min=0, idle_timeout_s=60.0)


def idle(age_s: float | None, num_waiting: int = 0, num_outstanding: int = 0) -> SignalValues:
    values = {Signal.CONCURRENCY: float(num_waiting + num_outstanding)}
    return SignalValues(1, values, num_waiting, num_outstanding, age_s)


def test_nothing_runs_when_nobody_has_asked_for_the_idle_timeout() -> None:
    state = once(ZERO, idle(5.0), 1).state
    assert decide(ZERO, idle(59.0), 1, state, 100.0).num_desired == 1
    assert decide(ZERO, idle(60.0), 1, state, 100.0).num_desired == 0
    assert decide(ZERO, idle(600.0, num_outstanding=1), 1, state, 595.0).num_desired == 1
    assert decide(ZERO, idle(600.0, num_waiting=1), 1, state, 595.0).num_desired == 1
    assert decide(CONCURRENCY, idle(600.0), 1, state, 595.0).num_desired == 1


def test_a_new_revision_and_an_unknown_gateway_are_given_the_idle_timeout_too() -> None:
    state = once(ZERO, idle(None), 1).state
    assert decide(ZERO, idle(None), 1, state, 59.0).num_desired == 1
    assert decide(ZERO, idle(None), 1, state, 60.0).num_desired == 0
    unknown = SignalValues(1, {})
    later = decide(ZERO, unknown, 1, state, 1000.0)
    assert later.num_desired == 1
    assert decide(ZERO, idle(None), 1, later.state, 1059.0).num_desired == 1


@pytest.mark.parametrize("signal", sorted(Signal))
def test_from_zero_one_starts_at_once_when_a_request_waits(signal: Signal) -> None:
    policy = replace(ZERO, signal=signal, up_window_s=600.0)
    asleep = SignalValues(0, {}, 0, 0, 1000.0)
    state = decide(policy, asleep, 0, ScalingState(last_active_s=-5000.0), 0.0).state
    assert decide(policy, asleep, 0, state, 1.0).num_desired == 0
    woken = decide(policy, SignalValues(0, {}, 1, 0, 0.1), 0, state, 2.0)
    assert woken.num_desired == 1
    starting = decide(policy, SignalValues(0, {}, 1, 0, 5.0), 1, woken.state, 7.0)
    assert starting.num_desired == 1


def test_from_zero_a_crowd_wakes_as_many_as_it_needs() -> None:
    crowd = SignalValues(0, {}, 30, 0, 0.1)
    assert decide(ZERO, crowd, 0, ScalingState(last_active_s=0.0), 1.0).num_desired == 8


counts = st.integers(1, 20)


@given(st.floats(0, 200), counts, st.floats(0, 120), st.sampled_from(sorted(Signal)))
def test_constant_load_changes_the_number_at_most_once(
    load: float, num_desired: int, startup_s: float, signal: Signal
) -> None:
    if signal in RESPONSE_SIGNALS:
        return
    policy = replace(CONCURRENCY, signal=signal)

    def measure(now_s: float, num_ready: int) -> Mapping[Signal, float]:
        total = load if signal in LOAD_SIGNALS else load / max(num_ready, 1)
        return {signal: total}

    simulation = Simulation(policy, measure, num_desired, startup_s)
    simulation.run(1500)
    assert simulation.num_changes <= 1
    assert simulation.num_desired == min(max(math.ceil(load / 4.0 - 1e-9), 1), 20) or (
        abs(load / 4.0 / num_desired - 1) <= 0.1  # it was near enough
    )


@given(st.integers(1, 18), st.lists(st.floats(-0.1, 0.1), min_size=20, max_size=60))
def test_noise_within_the_tolerance_changes_nothing(num: int, noise: list[float]) -> None:
    def measure(now_s: float, num_ready: int) -> Mapping[Signal, float]:
        share = noise[int(now_s / STEP_S) % len(noise)]
        return {Signal.CONCURRENCY: num * 4.0 * (1 + share * 0.999)}

    simulation = Simulation(CONCURRENCY, measure, num)
    simulation.run(1200)
    assert simulation.num_changes == 0


@given(
    st.floats(0.5, 70),
    counts,
    st.lists(st.floats(0, 1), min_size=20, max_size=60),
)
def test_noise_as_wide_as_the_tolerance_at_any_level_never_goes_to_and_fro(
    level: float, num_desired: int, noise: list[float]
) -> None:
    def measure(now_s: float, num_ready: int) -> Mapping[Signal, float]:
        share = noise[int(now_s / STEP_S) % len(noise)]
        return {Signal.CONCURRENCY: level * (1 + share * 0.0999)}

    simulation = Simulation(CONCURRENCY, measure, num_desired)
    simulation.run(2400)
    directions = [b - a for a, b in zip(simulation.counts, simulation.counts[1:], strict=False)]
    has_gone_down = False
    for direction in directions:
        assert not (has_gone_down and direction > 0)
        has_gone_down = has_gone_down or direction < 0


@settings(max_examples=30, deadline=None)  # four simulated hours each
@given(
    st.floats(0.2, 15),
    counts,
    st.floats(0, 60),
    st.sampled_from(sorted(RESPONSE_SIGNALS)),
)
def test_under_constant_load_response_signals_come_to_rest_where_the_target_is_met(
    load: float, num_desired: int, startup_s: float, signal: Signal
) -> None:
    policy = replace(QUEUE_TIME, signal=signal)

    def measure(now_s: float, num_ready: int) -> Mapping[Signal, float]:
        # Each replica bears 1: below that next to nothing waits, above it the queue is endless.
        share = load / max(num_ready, 1)
        wait_s = 60.0 if share >= 1 else 0.1 * share / (1 - share)
        return {Signal.RPS: load, signal: wait_s}

    simulation = Simulation(policy, measure, num_desired, startup_s)
    simulation.run(2 * 3600)
    num_changes = simulation.num_changes
    simulation.run(2 * 3600)
    assert simulation.num_changes == num_changes
    assert measure(0, simulation.num_desired)[signal] <= 1.1


def test_what_did_not_hold_the_load_is_tried_again_when_there_is_less_of_it() -> None:
    load = 3.5

    def measure(now_s: float, num_ready: int) -> Mapping[Signal, float]:
        return {Signal.RPS: load, Signal.QUEUE_TIME: 9.0 if load > num_ready else 0.0}

    simulation = Simulation(QUEUE_TIME, measure, 3)
    simulation.run(1800)
    assert simulation.num_desired == 4
    load = 1.5
    simulation.run(1800)
    assert simulation.num_desired == 2


NOW_S = 10_000.0


def respond(
    value: float, *, rps: float = 3.0, num_desired: int = 2, now_s: float = NOW_S, **past: object
) -> Decision:
    """By queue time, two replicas being ready, with this past."""
    state = replace(ScalingState(last_active_s=0.0, num_ready=2), **past)  # type: ignore[arg-type]
    return decide(QUEUE_TIME, busy(2, Signal.QUEUE_TIME, value, rps), num_desired, state, now_s)


def waited(*times_and_values: tuple[float, float], rps: float = 3.0) -> tuple[Recommendation, ...]:
    """What was seen so many seconds ago."""
    return tuple(Recommendation(NOW_S - ago_s, 2, rps, value) for ago_s, value in times_and_values)


def test_a_new_replica_is_given_time_to_show_in_the_signal() -> None:
    just_begun = respond(5.0, ready_grew_s=NOW_S - 29.9)
    assert just_begun.num_desired == 2
    assert just_begun.reason is ScalingReason.SETTLING
    assert respond(5.0, ready_grew_s=NOW_S - 30.0).num_desired == 4


def test_a_queue_that_will_soon_be_gone_needs_no_further_replica() -> None:
    falling = respond(5.0, recommendations=waited((20, 9.0)))
    assert falling.num_desired == 2
    assert falling.reason is ScalingReason.QUEUE_DRAINS
    assert respond(5.0, recommendations=waited((20, 5.66))).num_desired == 4  # 1.04 s in 120 s
    assert respond(5.0, recommendations=waited((20, 5.67))).num_desired == 2  # 0.98 s
    assert respond(5.0, recommendations=waited((14.9, 9.0))).num_desired == 4  # too soon to tell
    assert respond(5.0, recommendations=waited((31, 99.0), (20, 5.0))).num_desired == 4


def test_what_did_not_hold_the_load_is_a_lesson_once_it_had_met_the_target() -> None:
    assert respond(5.0, has_met_target=True).state.observations == (
        CapacityObservation(NOW_S, 2, 3.0),
    )
    assert respond(5.0, has_met_target=False).state.observations == ()
    peak = respond(5.0, has_met_target=True, recommendations=waited((200, 0.1), rps=8.0))
    assert peak.state.observations == (CapacityObservation(NOW_S, 2, 8.0),)
    long_gone = respond(5.0, has_met_target=True, recommendations=waited((301, 0.1), rps=8.0))
    assert long_gone.state.observations == (CapacityObservation(NOW_S, 2, 3.0),)


def test_a_lesson_is_kept_for_six_hours_and_the_last_one_of_a_number_counts() -> None:
    old, older = (
        CapacityObservation(NOW_S - 100, 2, 1.0),
        CapacityObservation(NOW_S - 6 * 3600 - 1, 3, 9.0),
    )
    other = CapacityObservation(NOW_S - 6 * 3600, 4, 9.0)
    learned = respond(5.0, has_met_target=True, observations=(older, other, old)).state.observations
    assert learned == (other, CapacityObservation(NOW_S, 2, 3.0))


@pytest.mark.parametrize(
    ("num_taught", "taught_rps", "is_tried"),
    [(2, 3.0, False), (3, 3.0, False), (1, 3.0, True), (2, 3.32, False), (2, 3.34, True)],
)
def test_fewer_replicas_are_tried_unless_they_are_known_not_to_hold_the_load(
    num_taught: int, taught_rps: float, is_tried: bool
) -> None:
    observations = (CapacityObservation(NOW_S - 100, num_taught, taught_rps),)
    decided = respond(0.1, num_desired=3, observations=observations)
    assert (decided.reason is ScalingReason.CAPACITY) is not is_tried
    assert decided.state.recommendations[-1].num_replicas == (2 if is_tried else 3)


def test_between_quiet_and_too_slow_nothing_is_tried() -> None:
    numbers = [
        respond(value, num_desired=3).state.recommendations[-1].num_replicas
        for value in (0.5, 0.51, 1.0, 1.1)
    ]
    assert numbers == [2, 3, 3, 3]


@pytest.mark.parametrize("rps", [0.0, 0.01, 1.0])
def test_one_replica_is_enough_for_no_requests_at_all(rps: float) -> None:
    decided = respond(0.0, rps=rps, num_desired=5)
    assert (decided.reason is ScalingReason.NO_REQUESTS) is (rps == 0.0)
    assert decided.state.recommendations[-1].num_replicas == (1 if rps == 0.0 else 4)


@given(
    st.sampled_from(sorted(Signal)),
    st.integers(0, 3),
    st.integers(3, 9),
    st.lists(
        st.builds(
            SignalValues,
            st.integers(0, 9),
            st.dictionaries(st.sampled_from(sorted(Signal)), st.floats(0, 1e6), max_size=8),
            st.none() | st.integers(0, 50),
            st.none() | st.integers(0, 50),
            st.none() | st.floats(0, 1e6),
        ),
        max_size=30,
    ),
)
def test_whatever_is_measured_the_number_stays_within_its_bounds(
    signal: Signal, lowest: int, highest: int, measured: list[SignalValues]
) -> None:
    policy = AutoscalingPolicy(min=lowest, max=highest, signal=signal, target=5.0)
    state, num_desired, now_s = ScalingState(), lowest, 0.0
    for samples in measured:
        decision = decide(policy, samples, num_desired, state, now_s)
        assert lowest <= decision.num_desired <= highest
        assert decision.why
        if decision.num_desired == 0:
            assert not samples.num_waiting
        state, num_desired, now_s = decision.state, decision.num_desired, now_s + 20.0
        assert len(state.recommendations) <= 2 + policy.down_window_s / 20.0
