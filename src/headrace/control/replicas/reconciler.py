"""Compares the desired with the actual state of replicas and returns the actions to take.

Pure: every action follows from the observed state and the time. What the control plane observes in
memory (probes in a row, the time of a SIGTERM, the last route table) is lost at its restart: a
draining replica is then signalled again, with a new grace period.
"""

from collections.abc import Callable, Iterator
from datetime import datetime

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
from headrace.control.replicas.backoff import Crashes, add_crash, crash_of, next_start_at
from headrace.control.replicas.observation import (
    Observed,
    ObservedReplica,
    ObservedRevision,
    ReplicaPolicy,
)
from headrace.control.resources import ReplicaState, RevisionPhase

GOING_UP = frozenset({ReplicaState.PENDING, ReplicaState.STARTING, ReplicaState.READY})
"""States of replicas that count towards the desired number."""


def reconcile(state: Observed, now: datetime) -> list[Action]:
    """The actions to take now. They are idempotent: each applies to one state of its replica."""
    actions: list[Action] = []
    for revision in state.revisions:
        actions.extend(_reconcile_revision(revision, state.gateway_version, now))
    return actions


def _reconcile_revision(
    observed: ObservedRevision, gateway_version: int | None, now: datetime
) -> Iterator[Action]:
    policy = observed.policy
    healthy: list[ObservedReplica] = []
    """Those that count towards the desired number and do not fail now."""
    crashes = observed.crashes
    for seen in observed.replicas:
        action = _DECISIONS[seen.replica.state](seen, gateway_version, now, policy)
        if action is not None:
            yield action
        if isinstance(action, FailReplica) and action.is_crash:
            crash = crash_of(action.replica, action.cause, now)
            crashes = add_crash(crashes, crash, policy.backoff)
        if seen.replica.state in GOING_UP and (action is None or isinstance(action, MarkReady)):
            healthy.append(seen)

    num_wanted = _num_wanted(observed)
    surplus = _surplus(healthy, num_wanted)
    yield from _starts(observed, crashes, num_wanted - len(healthy), now)
    yield from _drains(observed, surplus, len(healthy))
    yield from (
        RetryStart(seen.replica)
        for seen in healthy
        if seen not in surplus and seen.waits_for not in (None, seen.replica.cause)
    )
    yield from (
        ReportUnresponsive(seen.replica, _unresponsive_but_busy(seen, policy))
        for seen in healthy
        if seen not in surplus and _is_newly_unresponsive(seen, policy)
    )
    if observed.revision.phase is RevisionPhase.TERMINATING and not observed.replicas:
        yield FinishTermination(observed.revision.service, observed.revision.number)


def _decide_pending(
    seen: ObservedReplica, gateway_version: int | None, now: datetime, policy: ReplicaPolicy
) -> Action | None:
    if seen.is_launching:
        return None
    if seen.start_failure is not None:
        return FailReplica(seen.replica, seen.start_failure, is_crash=True)
    if seen.waits_for is not None:
        return None
    return MarkStopped(seen.replica, "The control plane exited before the process was started.")


def _decide_starting(
    seen: ObservedReplica, gateway_version: int | None, now: datetime, policy: ReplicaPolicy
) -> Action | None:
    if not seen.is_running:
        return FailReplica(seen.replica, _exit_cause(seen), is_crash=True)
    if seen.is_healthy:
        return MarkReady(seen.replica, seen.probe_why)
    # Since its process was started: before that it may have waited for GPUs.
    if _seconds_since(seen.replica.changed_at, now) >= policy.readiness_timeout_s:
        cause = f"Not ready after {policy.readiness_timeout_s:g} s"
        why = f" ({seen.probe_why})" if seen.probe_why else ""
        return FailReplica(seen.replica, f"{cause}{why}.{_tail(seen)}", is_crash=True)
    return None


def _decide_ready(
    seen: ObservedReplica, gateway_version: int | None, now: datetime, policy: ReplicaPolicy
) -> Action | None:
    if not seen.is_running:
        return FailReplica(seen.replica, _exit_cause(seen), is_crash=True)
    if _is_dead(seen, policy):
        return FailReplica(seen.replica, _unresponsive(seen), is_crash=True)
    return None


def _decide_draining(
    seen: ObservedReplica, gateway_version: int | None, now: datetime, policy: ReplicaPolicy
) -> Action | None:
    """In this order: out of the route table, no open requests, SIGTERM, SIGKILL."""
    if not seen.is_running:
        return MarkStopped(seen.replica, _stop_cause(seen))
    if seen.stop_signaled_at is not None:
        is_late = _seconds_since(seen.stop_signaled_at, now) >= policy.grace_period_s
        if is_late and not seen.is_killed:
            why = f"Still running {policy.grace_period_s:g} s after SIGTERM."
            return KillReplica(seen.replica, why)
        return None
    if _is_drained(seen, gateway_version):
        return StopReplica(seen.replica, "Drained.")
    if _is_dead(seen, policy):
        return FailReplica(seen.replica, _unresponsive(seen), is_crash=False)
    drained_s = _seconds_since(seen.replica.changed_at, now)
    if drained_s >= policy.drain_timeout_s:
        why = (
            "the gateway does not respond"
            if gateway_version is None
            else f"{seen.num_outstanding} requests still open"
        )
        return StopReplica(
            seen.replica, f"Drain timeout of {policy.drain_timeout_s:g} s exceeded; {why}."
        )
    return None


def _decide_gone(
    seen: ObservedReplica, gateway_version: int | None, now: datetime, policy: ReplicaPolicy
) -> Action | None:
    return None


_Decide = Callable[[ObservedReplica, int | None, datetime, ReplicaPolicy], Action | None]
_DECISIONS: dict[ReplicaState, _Decide] = {
    ReplicaState.PENDING: _decide_pending,
    ReplicaState.STARTING: _decide_starting,
    ReplicaState.READY: _decide_ready,
    ReplicaState.DRAINING: _decide_draining,
    ReplicaState.STOPPED: _decide_gone,
    ReplicaState.FAILED: _decide_gone,
}


def _is_dead(seen: ObservedReplica, policy: ReplicaPolicy) -> bool:
    """A replica whose probes time out while it is busy is dead only after
    ``max_unresponsive_s``."""
    if seen.is_stopped or seen.num_failed_probes >= policy.max_num_failed_probes:
        return True
    return seen.num_timeouts_while_busy > 0 and seen.unresponsive_s >= policy.max_unresponsive_s


def _is_newly_unresponsive(seen: ObservedReplica, policy: ReplicaPolicy) -> bool:
    """Whether it exceeds the limit of failed probes only because of timeouts while busy."""
    is_ready = seen.replica.state is ReplicaState.READY
    is_long = seen.num_timeouts_while_busy >= policy.max_num_failed_probes
    return is_ready and is_long and not seen.is_unresponsive_reported


def _is_drained(seen: ObservedReplica, gateway_version: int | None) -> bool:
    """Whether it has no open requests and can get no new ones."""
    if seen.unrouted_since is None or seen.num_outstanding > 0:
        return False
    return (gateway_version or 0) >= seen.unrouted_since


def _num_wanted(observed: ObservedRevision) -> int:
    if observed.revision.phase is not RevisionPhase.ACTIVE:
        return 0
    return observed.revision.num_desired_replicas


def _starts(
    observed: ObservedRevision, crashes: Crashes | None, num_missing: int, now: datetime
) -> Iterator[Action]:
    revision = observed.revision
    why = _desired(revision.num_desired_replicas)
    if crashes is not None:
        if now < next_start_at(crashes, observed.policy.backoff):
            return
        why += f", after {_crashes(crashes.num_in_a_row)}"
    for _ in range(num_missing):
        yield StartReplica(revision.service, revision.number, f"{why}.")


def _surplus(healthy: list[ObservedReplica], num_wanted: int) -> list[ObservedReplica]:
    """Those to stop: first pending ones, then those not ready, the least loaded, the youngest."""
    ordered = sorted(
        healthy,
        key=lambda seen: (
            seen.waits_for is None,
            seen.replica.state is ReplicaState.READY,
            seen.num_outstanding,
            -seen.replica.created_at.timestamp(),
            seen.replica.replica_id,
        ),
    )
    return ordered[: max(len(healthy) - num_wanted, 0)]


def _drains(
    observed: ObservedRevision, surplus: list[ObservedReplica], num_healthy: int
) -> Iterator[Action]:
    revision = observed.revision
    why = (
        f"{_desired(revision.num_desired_replicas)}, {num_healthy} running."
        if revision.phase is RevisionPhase.ACTIVE
        else f"Revision {revision.number} is being terminated."
    )
    for seen in surplus:
        if seen.waits_for is not None:
            yield MarkStopped(seen.replica, why)
        # A replica that is being started has no process to drain; a later pass finds it started.
        elif seen.replica.state is not ReplicaState.PENDING:
            yield DrainReplica(seen.replica, why)


def _exit_cause(seen: ObservedReplica) -> str:
    code = seen.exit_code
    if code is None:
        how = "Process gone"
    elif code < 0 or code > 128:
        how = f"Process killed by signal {-code if code < 0 else code - 128}"
    else:
        how = f"Process exited with code {code}"
    return f"{how}.{_tail(seen)}"


def _stop_cause(seen: ObservedReplica) -> str:
    if seen.stop_signaled_at is None:
        return f"Exited while draining. {_exit_cause(seen)}"
    return "Killed." if seen.is_killed else "Exited after SIGTERM."


def _unresponsive_but_busy(seen: ObservedReplica, policy: ReplicaPolicy) -> str:
    return (
        f"Probe timeouts for {seen.unresponsive_s:.0f} s, but the process is busy; not restarted "
        f"before {policy.max_unresponsive_s:g} s without any response."
    )


def _unresponsive(seen: ObservedReplica) -> str:
    if seen.is_stopped:
        return f"Unresponsive: the process is stopped by a signal.{_tail(seen)}"
    if seen.num_timeouts_while_busy > 0:
        return f"Unresponsive: busy, but no response for {seen.unresponsive_s:.0f} s.{_tail(seen)}"
    num = seen.num_failed_probes
    return f"Unresponsive: {num} consecutive probes failed ({seen.probe_why}).{_tail(seen)}"


def _tail(seen: ObservedReplica) -> str:
    return f" Last lines of the log:\n{seen.log_tail}" if seen.log_tail else ""


def _seconds_since(moment: datetime, now: datetime) -> float:
    return (now - moment).total_seconds()


def _crashes(num_in_a_row: int) -> str:
    return "1 crash" if num_in_a_row == 1 else f"{num_in_a_row} consecutive crashes"


def _desired(number: int) -> str:
    return "1 replica desired" if number == 1 else f"{number} replicas desired"
