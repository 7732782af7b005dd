"""Performs the reconciler's actions and writes the results to the store.

Each action runs in a thread, so that one that hangs delays no other. Each write is conditional: it
changes nothing if the replica's state is no longer the one that the decision was made for. A
replica is killed before it is marked failed, so that a restarted control plane finds it again. Any
failed start is a crash of its replica.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from headrace.control.errors import cause_of
from headrace.control.launchers.base import Launcher
from headrace.control.launchers.process import LOG_FILE
from headrace.control.log_on_change import ChangeLogger
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
from headrace.control.replicas.backoff import crash_of
from headrace.control.replicas.crash_history import CrashHistory
from headrace.control.replicas.health.monitor import ReplicaMonitor
from headrace.control.replicas.start import ReplicaStarter
from headrace.control.resources import (
    REPLICA_CHANGES,
    Event,
    EventReason,
    Replica,
    ReplicaState,
    RevisionKey,
    RevisionPhase,
)
from headrace.control.retention.log_truncation import truncate_log
from headrace.control.retention.policy import REPLICA_LOG, LogLimit
from headrace.control.store.store import Store
from headrace.core.errors import HeadraceError

logger = logging.getLogger("headrace.control")


class Executor:
    """``on_done`` is called in the event loop after each successful action."""

    def __init__(
        self,
        store: Store,
        launcher: Launcher,
        starter: ReplicaStarter,
        monitor: ReplicaMonitor,
        crashes: CrashHistory,
        clock: Callable[[], datetime],
        on_done: Callable[[], None],
        log_limit: LogLimit = REPLICA_LOG,
    ) -> None:
        self._store = store
        self._launcher = launcher
        self._starter = starter
        self._monitor = monitor
        self._crashes = crashes
        self._clock = clock
        self._on_done = on_done
        self._log_limit = log_limit
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """By subject: there is one action at a time for each replica."""
        self._starting: dict[str, RevisionKey] = {}
        self._launching: set[str] = set()
        self._failed_starts: dict[str, str] = {}
        """Causes of failed starts by replica id, until they are in the store."""
        self._lock = threading.Lock()
        self._num_starts = 0
        self._log = ChangeLogger(logger)
        self._performers: Mapping[type, Callable[[Any], None]] = {
            StartReplica: self._start,
            RetryStart: self._retry_start,
            MarkReady: self._mark_ready,
            FailReplica: self._fail,
            ReportUnresponsive: self._report_unresponsive,
            DrainReplica: self._drain,
            StopReplica: self._stop,
            KillReplica: self._kill,
            MarkStopped: self._mark_stopped,
            FinishTermination: self._finish_termination,
        }

    def launching(self) -> frozenset[str]:
        """Ids of replicas whose process is being started now."""
        with self._lock:
            return frozenset(self._launching)

    def start_failure(self, replica_id: str) -> str | None:
        """Why its start failed, until that is in the store."""
        with self._lock:
            return self._failed_starts.get(replica_id)

    def retain_only(self, replica_ids: set[str]) -> None:
        with self._lock:
            for replica_id in set(self._failed_starts) - replica_ids - self._launching:
                del self._failed_starts[replica_id]

    def starting(self) -> frozenset[RevisionKey]:
        """Revisions with a start in progress, which may be missing from a snapshot."""
        return frozenset(self._starting.values())

    def begin(self, actions: Iterable[Action], *, with_starts: bool = True) -> None:
        """Start the actions, without `StartReplica` if not ``with_starts``. An action for a replica
        that has one in progress is skipped."""
        for action in actions:
            if isinstance(action, StartReplica) and not with_starts:
                continue
            subject = self._subject(action)
            if subject not in self._tasks:
                task = asyncio.create_task(self._perform(subject, action))
                self._tasks[subject] = task
                task.add_done_callback(lambda _, subject=subject: self._ended(subject))  # type: ignore[misc]

    def is_busy(self) -> bool:
        """Whether an action is in progress."""
        return bool(self._tasks)

    async def wait(self, timeout_s: float | None = None) -> None:
        """Wait until all actions in progress are done, or for ``timeout_s``."""
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=timeout_s)

    def _subject(self, action: Action) -> str:
        if isinstance(action, StartReplica):
            self._num_starts += 1
            key = RevisionKey(action.service, action.revision)
            subject = f"start of {key} ({self._num_starts})"
            self._starting[subject] = key
            return subject
        if isinstance(action, FinishTermination):
            return f"termination of {action.service}/{action.revision}"
        return f"replica {action.replica.replica_id}"

    async def _perform(self, subject: str, action: Action) -> None:
        part = subject.partition(" (")[0]
        try:
            await asyncio.to_thread(self._performers[type(action)], action)
        except Exception as error:
            # The database is unavailable, a disk is full: the next pass retries.
            self._log.failed(part, cause_of(error))
        else:
            self._log.succeeded(part)
            self._on_done()  # not after a failure, which would make a busy loop

    def _ended(self, subject: str) -> None:
        self._tasks.pop(subject, None)
        self._starting.pop(subject, None)

    def _start(self, action: StartReplica) -> None:
        replica_ids: list[str] = []

        def on_id(replica_id: str) -> None:
            replica_ids.append(replica_id)
            self._begin_launch(replica_id)

        try:
            replica = self._starter.add(action, on_id)
            if replica is not None:
                self._launch_now(replica)
        finally:
            self._end_launch(replica_ids)

    def _retry_start(self, action: RetryStart) -> None:
        self._begin_launch(action.replica.replica_id)
        try:
            self._launch_now(action.replica)
        finally:
            self._end_launch([action.replica.replica_id])

    def _launch_now(self, replica: Replica) -> None:
        try:
            self._starter.start(replica)
        except Exception as error:
            if not isinstance(error, HeadraceError | OSError):
                logger.exception("replica %s: start failed", replica.replica_id)
            with self._lock:  # available even if the store cannot be written to
                self._failed_starts[replica.replica_id] = cause_of(error)
            self._write_off(replica, cause_of(error), is_crash=True)

    def _begin_launch(self, replica_id: str) -> None:
        with self._lock:
            self._launching.add(replica_id)
        self._monitor.note_started(replica_id)

    def _end_launch(self, replica_ids: Iterable[str]) -> None:
        with self._lock:
            self._launching.difference_update(replica_ids)

    def _mark_ready(self, action: MarkReady) -> None:
        self._change(action.replica, ReplicaState.READY, EventReason.READY, action.why)

    def _fail(self, action: FailReplica) -> None:
        self._signal(action.replica, self._launcher.kill)
        self._monitor.note_killed(action.replica.replica_id)
        self._write_off(action.replica, action.cause, is_crash=action.is_crash)

    def _write_off(self, replica: Replica, cause: str, *, is_crash: bool) -> None:
        now = self._clock()
        changed = self._change(replica, ReplicaState.FAILED, EventReason.FAILED, cause)
        with self._lock:
            self._failed_starts.pop(replica.replica_id, None)
        if changed and is_crash:
            key = replica.revision_key
            self._crashes.add(key, crash_of(replica, cause, now))

    def _report_unresponsive(self, action: ReportUnresponsive) -> None:
        self._add_event(action.replica, EventReason.UNRESPONSIVE, action.why)
        self._monitor.note_unresponsive_reported(action.replica.replica_id)

    def _drain(self, action: DrainReplica) -> None:
        self._change(action.replica, ReplicaState.DRAINING, EventReason.DRAINING, action.why)

    def _stop(self, action: StopReplica) -> None:
        self._monitor.note_stop_signaled(action.replica.replica_id, self._clock())
        self._signal(action.replica, self._launcher.terminate)
        self._add_event(action.replica, EventReason.STOPPING, action.why)

    def _kill(self, action: KillReplica) -> None:
        self._signal(action.replica, self._launcher.kill)
        self._monitor.note_killed(action.replica.replica_id)
        self._add_event(action.replica, EventReason.KILLED, action.why)

    def _mark_stopped(self, action: MarkStopped) -> None:
        self._change(action.replica, ReplicaState.STOPPED, EventReason.STOPPED, action.why)

    def _finish_termination(self, action: FinishTermination) -> None:
        with self._store.begin() as tx:
            revision = tx.revision(action.service, action.revision)
            if revision is None or revision.phase is not RevisionPhase.TERMINATING:
                return
            if tx.replicas(service=action.service, revision=action.revision, live_only=True):
                return
            tx.set_phase(action.service, action.revision, RevisionPhase.TERMINATED)
            tx.add_event(
                Event(
                    at=self._clock(),
                    subject=f"revision {action.service}/{action.revision}",
                    what=EventReason.TERMINATED,
                    why="All replicas have stopped.",
                    service=action.service,
                )
            )

    def _change(self, replica: Replica, state: ReplicaState, what: EventReason, why: str) -> bool:
        """Write the change and its event, if the replica's state is still ``replica.state``."""
        now = self._clock()
        with self._store.begin() as tx:
            changed = tx.change_replica(replica.replica_id, replica.state, state, now, cause=why)
            if changed:
                tx.add_event(_event(replica, what, why, now))
        if changed and not REPLICA_CHANGES[state]:
            with suppress(OSError):  # reported by the retention loop
                truncate_log(
                    self._monitor.folder_of(replica.replica_id) / LOG_FILE, self._log_limit
                )
        return changed

    def _add_event(self, replica: Replica, what: EventReason, why: str) -> None:
        with self._store.begin() as tx:
            tx.add_event(_event(replica, what, why, self._clock()))

    def _signal(self, replica: Replica, send: Callable[[str, Any], None]) -> None:
        if replica.process is not None and self._monitor.is_ours(replica.replica_id):
            send(replica.replica_id, replica.process)


def _event(replica: Replica, what: EventReason, why: str, at: datetime) -> Event:
    return Event(
        at=at,
        subject=f"replica {replica.replica_id}",
        what=what,
        why=why,
        service=replica.service,
    )
