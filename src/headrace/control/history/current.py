"""The latest metrics of revisions and replicas, in memory. Written by the recorder."""

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.control.history.revision_sample import RevisionSample
from headrace.control.resources import RevisionKey

_UNKNOWN = RevisionSample()


@dataclass(frozen=True, slots=True)
class ReplicaLoad:
    """One replica at its last sample. None: unknown."""

    num_bytes: int | None = None
    """Resident memory of all its processes."""
    num_busy_cores: float | None = None
    """Mean since the sample before."""
    kv_cache_usage: float | None = None
    """Share in use, from 0 to 1."""
    num_running: int | None = None
    num_waiting: int | None = None


NO_LOAD = ReplicaLoad()


class CurrentMetrics:
    """Values are at most one step of the history old, and empty after a start."""

    def __init__(self) -> None:
        self._revisions: Mapping[RevisionKey, RevisionSample] = {}
        self._replicas: Mapping[str, ReplicaLoad] = {}

    def revision(self, key: RevisionKey) -> RevisionSample:
        return self._revisions.get(key, _UNKNOWN)

    def replica(self, replica_id: str) -> ReplicaLoad:
        return self._replicas.get(replica_id, NO_LOAD)

    def replace(
        self,
        revisions: Mapping[RevisionKey, RevisionSample],
        replicas: Mapping[str, ReplicaLoad],
    ) -> None:
        """The new state of everything; what is left out is unknown."""
        self._revisions = revisions
        self._replicas = replicas
