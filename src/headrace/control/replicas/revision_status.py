"""How a revision is, in one word, from its phase and its replicas.

Pure: knows no process. For people and for listings; the reconciler decides by the facts below it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from headrace.control.replicas.backoff import Backoff
from headrace.control.resources import Replica, ReplicaState, Revision, RevisionPhase

_GOING_UP = frozenset({ReplicaState.PENDING, ReplicaState.STARTING})


NUM_LAST_GONE = Backoff().num_crashes_of_loop
"""So many of the replicas that went last tell all that there is to tell."""


class RevisionStatus(StrEnum):
    RUNNING = "running"
    STARTING = "starting"
    IDLE = "idle"
    """Scaled to zero; the first request starts a replica."""
    FAILED = "failed"
    """Its replicas crash; they are started again after growing pauses."""
    TERMINATING = "terminating"
    TERMINATED = "terminated"


@dataclass(frozen=True, slots=True)
class StatusWithCause:
    status: RevisionStatus
    cause: str | None = None
    """Why it failed, with the last lines of log."""


def revision_status(revision: Revision, replicas: Sequence[Replica]) -> StatusWithCause:
    """``replicas``: the revision's live ones and at least the `NUM_LAST_GONE` that went last, in
    any order."""
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
    """The latest replicas that are gone, newest first, up to the first that did not fail."""
    gone = [one for one in replicas if one.is_gone]
    failures = []
    for replica in sorted(gone, key=lambda one: (one.changed_at, one.created_at), reverse=True):
        if replica.state is not ReplicaState.FAILED:
            break
        failures.append(replica)
    return failures
