from datetime import UTC, datetime, timedelta

import pytest

from headrace.control.replicas.revision_status import RevisionStatus, revision_status
from headrace.control.resources import Replica, ReplicaState, Revision, RevisionPhase

NOW = datetime(2026, 1, 2, tzinfo=UTC)
STATES = {
    "p": ReplicaState.PENDING,
    "s": ReplicaState.STARTING,
    "r": ReplicaState.READY,
    "d": ReplicaState.DRAINING,
    "x": ReplicaState.STOPPED,
    "f": ReplicaState.FAILED,
}


def status(
    letters: str, num_desired: int = 1, phase: RevisionPhase = RevisionPhase.ACTIVE
) -> tuple[RevisionStatus, str | None]:
    """Of a revision whose replicas were made one after another, a letter each."""
    replicas = [
        Replica(
            replica_id=f"svc-1-{index}",
            service="svc",
            revision=1,
            state=STATES[letter],
            created_at=NOW + timedelta(minutes=index),
            changed_at=NOW + timedelta(minutes=index, seconds=30),
            cause=f"cause {index}",
        )
        for index, letter in enumerate(letters)
    ]
    revision = Revision("svc", 1, {}, phase, num_desired, NOW)
    told = revision_status(revision, replicas)
    assert told == revision_status(revision, replicas[::-1])
    return told.status, told.cause


@pytest.mark.parametrize(
    ("letters", "num_desired", "expected", "cause"),
    [
        ("", 1, RevisionStatus.STARTING, None),
        ("", 0, RevisionStatus.IDLE, None),
        ("p", 1, RevisionStatus.STARTING, None),
        ("s", 1, RevisionStatus.STARTING, None),
        ("r", 1, RevisionStatus.RUNNING, None),
        ("sr", 2, RevisionStatus.RUNNING, None),
        ("x", 0, RevisionStatus.IDLE, None),
        ("d", 0, RevisionStatus.IDLE, None),
        ("f", 1, RevisionStatus.FAILED, "cause 0"),
        ("fs", 1, RevisionStatus.STARTING, "cause 0"),
        ("ffs", 1, RevisionStatus.STARTING, "cause 1"),
        ("fffs", 1, RevisionStatus.FAILED, "cause 2"),
        ("ffff", 1, RevisionStatus.FAILED, "cause 3"),
        ("fffr", 1, RevisionStatus.RUNNING, None),
        ("fffx", 1, RevisionStatus.STARTING, None),
        ("xfs", 1, RevisionStatus.STARTING, "cause 1"),
    ],
)
def test_one_word_for_all_replicas(
    letters: str, num_desired: int, expected: RevisionStatus, cause: str | None
) -> None:
    assert status(letters, num_desired) == (expected, cause)


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        (RevisionPhase.TERMINATING, RevisionStatus.TERMINATING),
        (RevisionPhase.TERMINATED, RevisionStatus.TERMINATED),
    ],
)
def test_a_revision_that_is_to_go_is_nothing_else(
    phase: RevisionPhase, expected: RevisionStatus
) -> None:
    for letters in ("", "r", "fff"):
        assert status(letters, phase=phase) == (expected, None)
