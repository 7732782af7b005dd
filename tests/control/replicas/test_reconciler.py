from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.control.manifests.revision import RevisionSpec
from headrace.control.replicas.actions import (
    Action,
    DrainReplica,
    FailReplica,
    FinishTermination,
    KillReplica,
    MarkReady,
    MarkStopped,
    ReportUnresponsive,
    RetryStart,
    StartReplica,
    StopReplica,
)
from headrace.control.replicas.backoff import Crashes
from headrace.control.replicas.observation import (
    Observed,
    ObservedReplica,
    ObservedRevision,
    ReplicaPolicy,
)
from headrace.control.replicas.reconciler import reconcile
from headrace.control.resources import (
    REPLICA_CHANGES,
    Replica,
    ReplicaState,
    Revision,
    RevisionPhase,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = ReplicaPolicy(readiness_timeout_s=1800, drain_timeout_s=600, grace_period_s=30)
LIVE = [
    ReplicaState.PENDING,
    ReplicaState.STARTING,
    ReplicaState.READY,
    ReplicaState.DRAINING,
]


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def seen(
    state: ReplicaState, name: str = "a", age_s: float = 10, since_s: float = 5, **snapshot: Any
) -> ObservedReplica:
    replica = Replica(f"svc-1-{name}", "svc", 1, state, ago(age_s), ago(since_s))
    return replace(ObservedReplica(replica), **snapshot)


def revision(
    *replicas: ObservedReplica,
    num_desired: int = 1,
    phase: RevisionPhase = RevisionPhase.ACTIVE,
    crashes: Crashes | None = None,
) -> ObservedRevision:
    return ObservedRevision(
        Revision("svc", 1, {}, phase, num_desired, ago(60)), replicas, crashes, POLICY
    )


def actions(*revisions: ObservedRevision, gateway_version: int | None = 7) -> list[Action]:
    return reconcile(Observed(revisions, gateway_version), NOW)


def only(*revisions: ObservedRevision, gateway_version: int | None = 7) -> Action:
    [action] = actions(*revisions, gateway_version=gateway_version)
    return action


def test_missing_replicas_are_started_and_enough_are_left_alone() -> None:
    started = actions(revision(seen(ReplicaState.READY), num_desired=3))
    assert [type(action) for action in started] == [StartReplica, StartReplica]
    assert actions(revision(seen(ReplicaState.READY))) == []
    assert actions(revision(seen(ReplicaState.STARTING))) == []
    assert actions(revision(seen(ReplicaState.PENDING, is_launching=True))) == []


def test_a_starting_replica_becomes_ready_when_it_is_healthy() -> None:
    assert isinstance(only(revision(seen(ReplicaState.STARTING, is_healthy=True))), MarkReady)


def test_a_starting_replica_fails_at_its_deadline_with_what_the_probe_saw() -> None:
    late = seen(ReplicaState.STARTING, since_s=1800, probe_why="nothing listens on port 9")
    failed, started = actions(revision(late))
    assert isinstance(failed, FailReplica)
    assert "1800 s" in failed.cause
    assert "nothing listens on port 9" in failed.cause
    assert isinstance(started, StartReplica)


@pytest.mark.parametrize("state", [ReplicaState.STARTING, ReplicaState.READY])
def test_a_replica_whose_process_is_gone_fails_with_its_last_words_and_is_replaced(
    state: ReplicaState,
) -> None:
    gone = seen(state, is_running=False, exit_code=3, log_tail="out of memory")
    failed, started = actions(revision(gone))
    assert isinstance(failed, FailReplica)
    assert failed.is_crash
    assert "code 3" in failed.cause
    assert "out of memory" in failed.cause
    assert isinstance(started, StartReplica)


@pytest.mark.parametrize(
    ("exit_code", "words"),
    [(None, "Process gone"), (-9, "signal 9"), (137, "signal 9"), (1, "code 1")],
)
def test_the_cause_says_how_the_process_ended(exit_code: int | None, words: str) -> None:
    gone = seen(ReplicaState.READY, is_running=False, exit_code=exit_code)
    failed = actions(revision(gone))[0]
    assert isinstance(failed, FailReplica)
    assert words in failed.cause


def test_a_ready_replica_that_does_not_answer_three_times_fails_and_is_replaced() -> None:
    assert actions(revision(seen(ReplicaState.READY, num_failed_probes=2))) == []
    failed, started = actions(revision(seen(ReplicaState.READY, num_failed_probes=3)))
    assert isinstance(failed, FailReplica)
    assert failed.is_crash
    assert isinstance(started, StartReplica)


def test_a_replica_at_work_may_be_silent_for_long_and_people_are_told_once() -> None:
    def busy(num: int, unresponsive_s: float, **snapshot: Any) -> ObservedRevision:
        return revision(
            seen(
                ReplicaState.READY,
                num_timeouts_while_busy=num,
                unresponsive_s=unresponsive_s,
                **snapshot,
            )
        )

    assert actions(busy(2, 10)) == []
    told = only(busy(3, 15))
    assert isinstance(told, ReportUnresponsive)
    assert "15 s" in told.why
    assert "600 s" in told.why
    assert actions(busy(4, 20, is_unresponsive_reported=True)) == []
    assert actions(busy(100, 599.9, is_unresponsive_reported=True)) == []
    failed, started = actions(busy(101, 600, is_unresponsive_reported=True))
    assert isinstance(failed, FailReplica)
    assert failed.is_crash
    assert "busy" in failed.cause
    assert isinstance(started, StartReplica)


def test_a_busy_replica_that_is_surplus_is_drained_and_not_told_of() -> None:
    silent = seen(ReplicaState.READY, num_timeouts_while_busy=3, unresponsive_s=15)
    assert isinstance(only(revision(silent, num_desired=0)), DrainReplica)


@pytest.mark.parametrize("state", [ReplicaState.READY, ReplicaState.DRAINING])
def test_a_stopped_replica_fails_at_its_first_silent_probe(state: ReplicaState) -> None:
    stopped = seen(state, num_failed_probes=1, is_stopped=True, num_outstanding=1)
    failed = actions(revision(stopped))[0]
    assert isinstance(failed, FailReplica)
    assert "stopped by a signal" in failed.cause


def test_after_crashes_nothing_starts_before_the_wait_is_over() -> None:
    crashes = Crashes(4, ago(3.9), "exit 1")
    assert actions(revision(crashes=crashes)) == []
    assert isinstance(only(revision(crashes=replace(crashes, last_at=ago(4)))), StartReplica)


def test_a_crash_right_now_counts_before_anything_starts() -> None:
    crashes = Crashes(3, ago(20), "exit 1")
    gone = seen(ReplicaState.STARTING, is_running=False, exit_code=1)
    assert isinstance(only(revision(gone, crashes=crashes)), FailReplica)
    assert len(actions(revision(gone, crashes=None))) == 2


def test_one_that_was_being_started_by_a_controller_that_is_gone_is_no_crash() -> None:
    stopped, started = actions(revision(seen(ReplicaState.PENDING)))
    assert isinstance(stopped, MarkStopped)
    assert isinstance(started, StartReplica)


def test_surplus_replicas_drain_unready_ones_first_then_least_loaded_then_youngest() -> None:
    replicas = [
        seen(ReplicaState.READY, "busy-young", age_s=1, num_outstanding=9),
        seen(ReplicaState.READY, "idle-old", age_s=30),
        seen(ReplicaState.READY, "idle-young", age_s=20),
        seen(ReplicaState.STARTING, "starting", age_s=50),
    ]
    for num_desired, expected in [
        (3, ["starting"]),
        (2, ["starting", "idle-young"]),
        (1, ["starting", "idle-young", "idle-old"]),
    ]:
        drained = actions(revision(*replicas, num_desired=num_desired))
        assert all(isinstance(action, DrainReplica) for action in drained)
        names = [a.replica.replica_id for a in drained if isinstance(a, DrainReplica)]
        assert names == [f"svc-1-{name}" for name in expected]


@pytest.mark.parametrize(
    ("unrouted_since", "gateway_version", "num_outstanding", "since_s", "stops"),
    [
        (None, 9, 0, 10, False),  # still in the table
        (8, 7, 0, 10, False),  # the gateway has not read the new table
        (8, 8, 1, 10, False),  # work is left
        (8, 8, 0, 10, True),
        (8, 12, 0, 10, True),
        (8, None, 0, 10, False),  # nobody knows
        (8, None, 0, 600, True),  # the drain timeout is over
        (8, 8, 5, 600, True),
        (None, None, 0, 600, True),
        (0, None, 0, 0, True),  # it never had a request
    ],
)
def test_a_draining_replica_is_told_to_stop_when_nothing_can_come_any_more(
    unrouted_since: int | None,
    gateway_version: int | None,
    num_outstanding: int,
    since_s: float,
    stops: bool,
) -> None:
    replica = seen(
        ReplicaState.DRAINING,
        since_s=since_s,
        unrouted_since=unrouted_since,
        num_outstanding=num_outstanding,
    )
    decided = actions(revision(replica, num_desired=0), gateway_version=gateway_version)
    assert [type(action) for action in decided] == ([StopReplica] if stops else [])


def test_a_replica_that_was_told_to_stop_is_killed_once_after_its_grace() -> None:
    def draining(**snapshot: Any) -> ObservedRevision:
        return revision(seen(ReplicaState.DRAINING, unrouted_since=1, **snapshot), num_desired=0)

    assert actions(draining(stop_signaled_at=ago(29))) == []
    assert isinstance(only(draining(stop_signaled_at=ago(30))), KillReplica)
    assert actions(draining(stop_signaled_at=ago(30), is_killed=True)) == []
    assert isinstance(only(draining(stop_signaled_at=ago(1), is_running=False)), MarkStopped)


def test_a_draining_replica_that_does_not_answer_is_given_up() -> None:
    replica = seen(ReplicaState.DRAINING, num_failed_probes=3, num_outstanding=2, unrouted_since=1)
    failed = only(revision(replica, num_desired=0))
    assert isinstance(failed, FailReplica)
    assert not failed.is_crash


def test_a_revision_is_terminated_when_its_last_replica_is_gone() -> None:
    phase = RevisionPhase.TERMINATING
    assert isinstance(only(revision(seen(ReplicaState.READY), phase=phase)), DrainReplica)
    draining = seen(ReplicaState.DRAINING, num_outstanding=1, unrouted_since=1)
    assert actions(revision(draining, phase=phase)) == []
    assert isinstance(only(revision(phase=phase)), FinishTermination)
    assert actions(revision(phase=RevisionPhase.TERMINATED)) == []


def waiting(cause: str, waits_for: str) -> ObservedReplica:
    found = seen(ReplicaState.PENDING, waits_for=waits_for)
    return replace(found, replica=replace(found.replica, cause=cause))


def test_one_that_waits_for_gpus_counts_and_is_started_when_there_are_enough() -> None:
    assert actions(revision(waiting("for 1", "for 1"))) == []
    assert isinstance(only(revision(waiting("for 1", ""))), RetryStart)
    assert isinstance(only(revision(waiting("1 is wanted", "for 1"))), RetryStart)  # to be told


def test_what_waits_is_the_first_that_is_too_much() -> None:
    young = seen(ReplicaState.STARTING, "b", age_s=1)
    stopped = only(revision(waiting("for 1", ""), young))
    assert isinstance(stopped, MarkStopped)
    terminating = revision(waiting("for 1", ""), phase=RevisionPhase.TERMINATING)
    assert isinstance(only(terminating), MarkStopped)


def test_waiting_does_not_count_towards_the_time_to_become_ready() -> None:
    assert actions(revision(seen(ReplicaState.STARTING, age_s=9000, since_s=1799))) == []


def pending_only(replica: ObservedReplica, waits_for: str | None) -> ObservedReplica:
    is_waiting = replica.replica.state is ReplicaState.PENDING and not replica.is_launching
    return replace(replica, waits_for=waits_for if is_waiting else None)


replicas = st.builds(
    seen,
    st.sampled_from(LIVE),
    st.uuids().map(str),
    age_s=st.floats(0, 4000),
    since_s=st.floats(0, 4000),
    is_launching=st.booleans(),
    is_running=st.booleans(),
    is_healthy=st.booleans(),
    num_failed_probes=st.integers(0, 5),
    num_timeouts_while_busy=st.integers(0, 5),
    unresponsive_s=st.floats(0, 700),
    is_unresponsive_reported=st.booleans(),
    is_stopped=st.booleans(),
    num_outstanding=st.integers(0, 5),
    unrouted_since=st.none() | st.integers(0, 10),
    stop_signaled_at=st.none() | st.floats(0, 100).map(ago),
    is_killed=st.booleans(),
)
replicas = st.builds(pending_only, replicas, st.none() | st.sampled_from(["", "for 1 GPU"]))
revisions = st.builds(
    lambda seen_replicas, num_desired, phase, crashes: revision(
        *seen_replicas, num_desired=num_desired, phase=phase, crashes=crashes
    ),
    st.lists(replicas, max_size=6),
    st.integers(0, 6),
    st.sampled_from(RevisionPhase),
    st.none() | st.builds(Crashes, st.integers(1, 12), st.floats(0, 400).map(ago), st.just("x")),
)
NEXT_STATE = {
    MarkReady: ReplicaState.READY,
    FailReplica: ReplicaState.FAILED,
    DrainReplica: ReplicaState.DRAINING,
    MarkStopped: ReplicaState.STOPPED,
}


@given(revisions, st.none() | st.integers(0, 10))
def test_whatever_is_the_case_the_actions_are_sound(
    observed: ObservedRevision, gateway_version: int | None
) -> None:
    decided = actions(observed, gateway_version=gateway_version)
    by_id = {s.replica.replica_id: s for s in observed.replicas}
    aimed = [a.replica.replica_id for a in decided if hasattr(a, "replica")]

    # One action a replica, and only changes of state that the table allows. One that has just
    # become ready may at once be one too many.
    for replica_id in set(aimed):
        mine = [a for a in decided if getattr(a, "replica", None) == by_id[replica_id].replica]
        assert len(mine) == 1 or [type(a) for a in mine] == [MarkReady, DrainReplica]
    for action in decided:
        if type(action) in NEXT_STATE:
            assert NEXT_STATE[type(action)] in REPLICA_CHANGES[action.replica.state]  # type: ignore[union-attr]

    # A replica with work is told to stop only when its time to drain is over.
    for action in decided:
        if isinstance(action, StopReplica):
            stopped = by_id[action.replica.replica_id]
            is_late = (NOW - stopped.replica.changed_at).total_seconds() >= POLICY.drain_timeout_s
            assert is_late or stopped.num_outstanding == 0

    # What waits is never tried for a revision that is being terminated.
    if observed.revision.phase is not RevisionPhase.ACTIVE:
        assert not any(isinstance(action, RetryStart) for action in decided)

    # Never more starts than are missing, and starts and drains never together.
    starts = [a for a in decided if isinstance(a, StartReplica)]
    drains = [a for a in decided if isinstance(a, DrainReplica)]
    assert not (starts and drains)
    if observed.revision.phase is not RevisionPhase.ACTIVE:
        assert not starts
    assert len(starts) <= observed.revision.num_desired_replicas


@pytest.mark.parametrize(
    ("num_crashes", "why"),
    [
        (1, "after 1 crash."),
        (2, "after 2 consecutive crashes."),
        (7, "after 7 consecutive crashes."),
    ],
)
def test_a_start_after_crashes_tells_how_many_there_were(num_crashes: int, why: str) -> None:
    crashes = Crashes(num_crashes, ago(600), "exit 1")
    start = only(revision(crashes=crashes))
    assert start == StartReplica("svc", 1, f"1 replica desired, {why}")


def test_a_start_that_failed_is_a_crash_whatever_the_replica_waits_for() -> None:
    crashes = Crashes(2, ago(0), "exit 1")
    for waits_for in (None, "", "GPU 0"):
        failed = seen(ReplicaState.PENDING, start_failure="no memory", waits_for=waits_for)
        action = only(revision(failed, crashes=crashes))
        assert action == FailReplica(failed.replica, "no memory", is_crash=True)
    launching = seen(ReplicaState.PENDING, start_failure="no memory", is_launching=True)
    assert actions(revision(launching)) == []


def test_the_defaults_are_those_of_a_manifest() -> None:
    spec = RevisionSpec.model_validate({"run": "serve"})
    policy = ReplicaPolicy()
    assert policy.readiness_timeout_s == spec.readiness.timeout_s
    assert policy.drain_timeout_s == spec.drain_timeout_s
    assert policy.grace_period_s == spec.grace_period_s
