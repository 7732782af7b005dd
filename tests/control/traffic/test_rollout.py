from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.control.resources import Gateway, GatewayStatus, RevisionPhase, Target
from headrace.control.traffic.rollout import RevisionReadiness, apply_targets, rescale

ONE, TWO = Target(1, 3000, 100), Target(2, 3000, 100)
HALVES = (Target(1, 3000, 50), Target(2, 3000, 50))
UP = RevisionReadiness(RevisionPhase.ACTIVE, 1)
DOWN = RevisionReadiness(RevisionPhase.ACTIVE, 0)
LOOP = RevisionReadiness(RevisionPhase.ACTIVE, 0, crash_cause="exit code 1")
ZERO = RevisionReadiness(RevisionPhase.ACTIVE, 0, scales_from_zero=True)
ENDING = RevisionReadiness(RevisionPhase.TERMINATING, 1)


def gateway(
    targets: tuple[Target, ...], applied: tuple[Target, ...] = (), is_enabled: bool = True
) -> Gateway:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Gateway("svc", is_enabled, targets, applied, GatewayStatus.PENDING, "", {}, now)


def test_traffic_moves_once_every_new_target_is_ready() -> None:
    waiting = apply_targets(gateway(HALVES, (ONE,)), {1: UP, 2: DOWN})
    assert waiting.applied_targets == (ONE,)
    assert waiting.status is GatewayStatus.PENDING
    assert "revision 2" in waiting.message
    moved = apply_targets(gateway(HALVES, (ONE,)), {1: UP, 2: UP})
    assert moved.applied_targets == HALVES
    assert (moved.status, moved.message) == (GatewayStatus.SUCCESS, "")


def test_a_revision_that_crashes_again_and_again_fails_the_rollout_and_traffic_stays() -> None:
    rollout = apply_targets(gateway((TWO,), (ONE,)), {1: UP, 2: LOOP})
    assert rollout.applied_targets == (ONE,)
    assert rollout.status is GatewayStatus.FAILED
    assert "exit code 1" in rollout.message


def test_what_scales_from_zero_need_not_be_ready_unless_it_crashes() -> None:
    assert apply_targets(gateway((TWO,), (ONE,)), {1: UP, 2: ZERO}).applied_targets == (TWO,)
    crashing = RevisionReadiness(RevisionPhase.ACTIVE, 0, True, "exit code 1")
    assert apply_targets(gateway((TWO,), (ONE,)), {1: UP, 2: crashing}).applied_targets == (ONE,)


def test_a_target_without_a_share_is_not_waited_for() -> None:
    targets = (ONE, Target(2, 3000, 0))
    rollout = apply_targets(gateway(targets, (ONE,)), {1: UP, 2: DOWN})
    assert rollout.applied_targets == targets
    assert rollout.status is GatewayStatus.SUCCESS


def test_with_no_traffic_yet_it_is_applied_at_once_and_says_what_it_waits_for() -> None:
    rollout = apply_targets(gateway((ONE,)), {1: DOWN})
    assert rollout.applied_targets == (ONE,)
    assert rollout.status is GatewayStatus.PENDING
    assert apply_targets(gateway((ONE,), (ONE,)), {1: UP}).status is GatewayStatus.SUCCESS
    assert apply_targets(gateway((ONE,), (ONE,)), {1: LOOP}).status is GatewayStatus.FAILED


def test_a_target_whose_share_was_none_has_no_traffic_yet() -> None:
    applied = (ONE, Target(2, 3000, 0))
    rollout = apply_targets(gateway((TWO,), applied), {1: UP, 2: DOWN})
    assert (rollout.applied_targets, rollout.status) == (applied, GatewayStatus.PENDING)


def test_all_that_is_waited_for_is_named() -> None:
    thirds = (Target(3, 3000, 60), Target(1, 3000, 10), Target(2, 3000, 30))
    rollout = apply_targets(gateway(thirds, (ONE,)), {1: UP, 2: DOWN, 3: DOWN})
    assert rollout.message == "Traffic is unchanged until revisions 2 and 3 are ready."
    rollout = apply_targets(gateway(thirds), {1: UP, 2: DOWN, 3: UP})
    assert rollout.message == "Requests are queued until revision 2 is ready."


def test_a_revision_with_traffic_keeps_it_however_it_is() -> None:
    rollout = apply_targets(gateway(HALVES, (ONE,)), {1: DOWN, 2: UP})
    assert rollout.applied_targets == HALVES


def test_a_terminating_revision_leaves_the_applied_targets_at_once() -> None:
    rollout = apply_targets(gateway((TWO,), HALVES), {1: ENDING, 2: UP})
    assert rollout.applied_targets == (TWO,)
    nothing_left = apply_targets(gateway((TWO,), (ONE,)), {1: ENDING, 2: DOWN})
    assert nothing_left.applied_targets == (TWO,)


def test_a_new_port_of_the_same_revision_is_a_new_target() -> None:
    other_port = Target(1, 4000, 100)
    assert apply_targets(gateway((other_port,), (ONE,)), {1: DOWN}).applied_targets == (ONE,)


def test_a_disabled_gateway_and_an_empty_one_wait_for_nothing() -> None:
    off = apply_targets(gateway((TWO,), (ONE,), is_enabled=False), {1: UP, 2: DOWN})
    assert (off.applied_targets, off.status) == ((TWO,), GatewayStatus.SUCCESS)
    empty = apply_targets(gateway((), (ONE,)), {1: UP})
    assert (empty.applied_targets, empty.status) == ((), GatewayStatus.SUCCESS)


@pytest.mark.parametrize(
    ("weights", "rescaled"),
    [
        ([1, 1, 1], [34, 33, 33]),
        ([1, 2, 3], [17, 33, 50]),
        ([2, 1, 3], [33, 17, 50]),
        ([5, 2, 1], [63, 25, 12]),
        ([30, 0, 10], [75, 0, 25]),
    ],
)
def test_what_is_left_over_goes_to_the_largest_remainders(
    weights: list[int], rescaled: list[int]
) -> None:
    assert rescale(weights) == rescaled


@given(st.lists(st.integers(0, 100), min_size=1, max_size=6))
def test_rescaled_weights_sum_to_100_and_keep_their_proportions(weights: list[int]) -> None:
    rescaled = rescale(weights)
    if sum(weights) == 0:
        assert rescaled == weights
        return
    assert sum(rescaled) == 100
    for weight, share in zip(weights, rescaled, strict=True):
        assert abs(share - weight * 100 / sum(weights)) < 1


readiness = st.builds(
    RevisionReadiness,
    st.sampled_from(RevisionPhase),
    st.integers(0, 3),
    st.booleans(),
    st.none() | st.just("exit code 1"),
)
target_sets = st.lists(
    st.builds(Target, st.integers(1, 4), st.just(3000), st.integers(1, 100)),
    max_size=4,
    unique_by=lambda target: target.number,
).map(tuple)


@given(target_sets, target_sets, st.dictionaries(st.integers(1, 4), readiness))
def test_traffic_never_moves_from_a_working_target_to_one_without_replicas(
    asked: tuple[Target, ...],
    applied: tuple[Target, ...],
    revisions: dict[int, RevisionReadiness],
) -> None:
    rollout = apply_targets(gateway(asked, applied), revisions)
    if not asked:
        return
    active = {
        target.number
        for target in applied
        if target.number in revisions and revisions[target.number].phase is RevisionPhase.ACTIVE
    }
    if active:
        for target in rollout.applied_targets:
            known = revisions.get(target.number)
            can_take_it = known is not None and (known.num_ready > 0 or known.scales_from_zero)
            assert target.number in active or can_take_it
    # Deciding on what was decided changes nothing more.
    again = apply_targets(gateway(asked, rollout.applied_targets), revisions)
    assert again.applied_targets == rollout.applied_targets
