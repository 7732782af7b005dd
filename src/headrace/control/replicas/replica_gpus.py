"""Assigns GPUs to replicas in the store, by the rules of `devices/assignment.py`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from headrace.control.devices.assignment import Unavailable, assign_gpus
from headrace.control.devices.gpus import Gpu
from headrace.control.errors import LaunchError
from headrace.control.resources import Event, EventReason, Replica, ReplicaState
from headrace.control.store.store import Store


class ReplicaGpus:
    def __init__(self, store: Store, gpus: Sequence[Gpu], clock: Callable[[], datetime]) -> None:
        self._store = store
        self._uuids = [gpu.uuid for gpu in gpus]
        self._clock = clock

    def waits_for(self, replica: Replica, asked: float | None) -> str | None:
        """Why it cannot get its GPUs now; empty if they are free; None if it needs none or has
        them."""
        if not asked or not self._uuids or replica.gpus:
            return None
        if replica.state is not ReplicaState.PENDING:
            return None
        with self._store.read() as tx:
            found = assign_gpus(asked, tx.gpu_holdings(), self._uuids)
        return found.why if isinstance(found, Unavailable) else ""

    def assign(self, replica: Replica, asked: float | None) -> Replica | None:
        """The replica with its GPUs. None if it has to wait, which is recorded, or is no longer
        pending.

        Raises LaunchError if this machine has too few.
        """
        if not asked or not self._uuids:
            return replica
        with self._store.begin() as tx:
            found = assign_gpus(asked, tx.gpu_holdings(), self._uuids)
            if not isinstance(found, Unavailable):
                is_noted = tx.note_pending(replica.replica_id, gpus=found.shares)
                return replace(replica, gpus=found.shares) if is_noted else None
            if found.is_final:
                raise LaunchError(found.why)
            is_news = found.why != replica.cause
            if is_news and tx.note_pending(replica.replica_id, cause=found.why):
                tx.add_event(
                    Event(
                        at=self._clock(),
                        subject=f"replica {replica.replica_id}",
                        what=EventReason.PENDING,
                        why=found.why,
                        service=replica.service,
                    )
                )
            return None
