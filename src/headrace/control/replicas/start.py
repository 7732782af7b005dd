"""Starts one replica: its row, its GPUs, its imports, its ports, its process."""

import secrets
import shutil
import threading
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from pathlib import Path

from headrace.control.artifacts.artifact_store import ArtifactStore
from headrace.control.artifacts.imports import import_all
from headrace.control.errors import ConflictError
from headrace.control.launchers.base import Launcher
from headrace.control.launchers.planning import ROOT_FOLDER, plan_launch
from headrace.control.manifests.fields.env import secret_names
from headrace.control.manifests.parsing.manifest_model import read_stored
from headrace.control.manifests.revision import RevisionSpec
from headrace.control.processes.ports import find_free_port
from headrace.control.replicas.actions import StartReplica
from headrace.control.replicas.replica_gpus import ReplicaGpus
from headrace.control.resources import (
    Event,
    EventReason,
    ProcessHandle,
    Replica,
    ReplicaState,
    RevisionPhase,
)
from headrace.control.store.store import Store

SecretReader = Callable[[Collection[str]], Mapping[str, str]]
"""Returns the plaintext values by name; unknown names are left out."""


def no_secrets(names: Collection[str]) -> Mapping[str, str]:
    return {}


class ReplicaStarter:
    def __init__(
        self,
        store: Store,
        launcher: Launcher,
        folder: Path,
        artifacts: Path,
        clock: Callable[[], datetime],
        gpus: ReplicaGpus,
        *,
        read_secrets: SecretReader = no_secrets,
        uses_containers: bool = False,
    ) -> None:
        self._store = store
        self._launcher = launcher
        self._folder = folder
        self._artifacts = ArtifactStore(artifacts)
        self._clock = clock
        self._gpus = gpus
        self._read_secrets = read_secrets
        self._uses_containers = uses_containers
        self._ports: dict[str, frozenset[int]] = {}
        """Assigned host ports by replica id, until they are in the store."""
        self._ports_lock = threading.Lock()

    def add(self, action: StartReplica, on_id: Callable[[str], None]) -> Replica | None:
        """Add a pending replica to the store. None if the revision is no longer active.

        ``on_id`` is called with the new id before the row is visible to others.
        """
        now = self._clock()
        with self._store.begin() as tx:
            revision = tx.revision(action.service, action.revision)
            if revision is None or revision.phase is not RevisionPhase.ACTIVE:
                return None
            replica_id = new_replica_id(action.service, action.revision)
            while tx.replica(replica_id) is not None:
                replica_id = new_replica_id(action.service, action.revision)
            on_id(replica_id)
            replica = Replica(
                replica_id=replica_id,
                service=action.service,
                revision=action.revision,
                state=ReplicaState.PENDING,
                created_at=now,
                changed_at=now,
                cause=action.why,
            )
            tx.add_replica(replica)
            tx.add_event(self._event(replica, EventReason.CREATED, action.why, now))
        return replica

    def start(self, replica: Replica) -> ProcessHandle | None:
        """Start its process. None if it waits for GPUs, or is no longer pending.

        Raises any exception if it cannot be started; then no process and no folder are left.
        """
        spec = self._spec(replica)
        equipped = self._gpus.assign(replica, spec.resources.gpu)
        if equipped is None:
            return None
        try:
            return self._start_process(equipped, spec)
        except BaseException:
            # A crash loop would otherwise leave many folders.
            shutil.rmtree(self._folder / replica.replica_id, ignore_errors=True)
            raise

    def _start_process(self, replica: Replica, spec: RevisionSpec) -> ProcessHandle | None:
        folder = self._folder / replica.replica_id
        import_all(spec, folder / ROOT_FOLDER, self._artifacts)
        host_ports = self._take_ports(replica.replica_id, [port.port for port in spec.ports])
        try:
            plan = plan_launch(
                replica.replica_id,
                spec,
                folder=folder,
                host_ports=host_ports,
                secrets=self._read_secrets(secret_names(spec.env)),
                uses_containers=self._uses_containers,
                gpus=replica.gpus,
            )
            handle = self._launcher.start(plan)
            try:
                started = self._write_started(replica, handle, host_ports)
            except BaseException:
                # A process that is not in the store would never be stopped.
                self._launcher.kill(replica.replica_id, handle)
                raise
            if not started:
                self._launcher.kill(replica.replica_id, handle)
            return handle if started else None
        finally:
            with self._ports_lock:
                del self._ports[replica.replica_id]

    def _spec(self, replica: Replica) -> RevisionSpec:
        with self._store.read() as tx:
            revision = tx.revision(replica.service, replica.revision)
        if revision is None:
            raise ConflictError(f"Revision {replica.revision_key} no longer exists.")
        return read_stored(RevisionSpec, revision.spec)

    def _take_ports(self, replica_id: str, declared: list[int]) -> dict[int, int]:
        """A free port of this machine for each declared one, not assigned to any other replica or
        run."""
        with self._store.read() as tx:
            taken = tx.taken_ports()
        with self._ports_lock:
            for others in self._ports.values():
                taken |= others
            host_ports: dict[int, int] = {}
            for port in declared:
                host_ports[port] = find_free_port(taken)
                taken.add(host_ports[port])
            self._ports[replica_id] = frozenset(host_ports.values())
        return host_ports

    def _write_started(
        self, replica: Replica, handle: ProcessHandle, host_ports: dict[int, int]
    ) -> bool:
        now = self._clock()
        log_path = str(self._folder / replica.replica_id / "log")
        ports = ", ".join(f"{declared} at {host}" for declared, host in host_ports.items())
        gpus = f", GPUs {', '.join(replica.gpus)}" if replica.gpus else ""
        why = f"Process {handle.pid}, port {ports}{gpus}."
        with self._store.begin() as tx:
            started = tx.change_replica(
                replica.replica_id,
                ReplicaState.PENDING,
                ReplicaState.STARTING,
                now,
                cause=why,
                process=handle,
                host_ports=host_ports,
                log_path=log_path,
            )
            if started:
                tx.add_event(self._event(replica, EventReason.STARTED, why, now))
        return started

    def _event(self, replica: Replica, what: EventReason, why: str, at: datetime) -> Event:
        return Event(
            at=at,
            subject=f"replica {replica.replica_id}",
            what=what,
            why=why,
            service=replica.service,
        )


_ID_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""Without l, o, 0 and 1, which are easily confused."""


def new_replica_id(service: str, revision: int) -> str:
    """``SERVICE-NUMBER-xxxxx``; the caller makes sure that it is unique."""
    return f"{service}-{revision}-{''.join(secrets.choice(_ID_ALPHABET) for _ in range(5))}"
