"""A revision's status for users, from its phase and its replicas. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from headrace.control.replicas.backoff import Backoff
from headrace.control.resources import Replica, ReplicaState, Revision, RevisionPhase

_GOING_UP = frozenset({ReplicaState.PENDING, ReplicaState.STARTING})


NUM_LAST_GONE = Backoff().num_crashes_of_loop
"""The number of most recent gone replicas that the status depends on."""


class RevisionStatus(StrEnum):
    RUNNING = "running"
    STARTING = "starting"
    IDLE = "idle"
    """Scaled to zero; the first request starts a replica."""
    FAILED = "failed"
    """Its replicas crash; restarts are delayed by the backoff."""
    TERMINATING = "terminating"
    TERMINATED = "terminated"


@dataclass(frozen=True, slots=True)
class StatusWithCause:
    status: RevisionStatus
    cause: str | None = None
    """Why it failed, with the last lines of the log."""


def revision_status(revision: Revision, replicas: Sequence[Replica]) -> StatusWithCause:
    """``replicas``: the live ones and at least the `NUM_LAST_GONE` most recent gone ones, in any
    order."""
    if revision.phase is RevisionPhase.TERMINATED:
        return StatusWithCause(RevisionStatus.TERMINATED)
    if revision.phase is RevisionPhase.TERMINATING:
        return StatusWithCause(RevisionStatus.TERMINATING)
    if any(replica.state is ReplicaState.READY for replica in replicas):
        return StatusWithCause(RevisionStatus.RUNNING)
    crashes = _last_failures(replicas)
    is_going_up = any(replica.state in _GOING_UP for replica in replicas)
    if len(crashes) >= NUM_LAST_GONE or (crashes and not is_going_up):
        return StatusWithCause(RevisionStatus.FAILED, crashes[0].cause)
    if is_going_up or revision.num_desired_replicas > 0:
        return StatusWithCause(RevisionStatus.STARTING, crashes[0].cause if crashes else None)
    return StatusWithCause(RevisionStatus.IDLE)


def _last_failures(replicas: Sequence[Replica]) -> list[Replica]:
    """The most recent gone replicas, newest first, up to the first that did not fail."""
    gone = [one for one in replicas if one.is_gone]
    failures = []
    for replica in sorted(gone, key=lambda one: (one.changed_at, one.created_at), reverse=True):
        if replica.state is not ReplicaState.FAILED:
            break
        failures.append(replica)
    return failures
