"""The loop that forgets: now and then, and a little at a time.

Knows what there is to do and when; each piece of work is in a file of its own. One chore's trouble
keeps no other from being done, and is told once.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from headrace.control.launchers.process import LOG_FILE
from headrace.control.once import LogOnce
from headrace.control.platform.layout import Layout
from headrace.control.retention.folders import Folders
from headrace.control.retention.forgetting import forget_events, forget_replicas
from headrace.control.retention.log_bound import bound_log
from headrace.control.retention.policy import LogBound, RetentionPolicy
from headrace.control.store.store import Store

logger = logging.getLogger("headrace.control")

_PASS_S = 60.0
_PASSES_TO_SWEEP = 10
_PAUSE_S = 0.05
"""Between two batches, for those who wait for the store or the disk."""
_DONE = object()


class Chores:
    """One for the control plane's life: ``await run()`` until cancelled."""

    def __init__(
        self,
        store: Store,
        folders: Folders,
        layout: Layout,
        clock: Callable[[], datetime],
        policy: RetentionPolicy | None = None,
    ) -> None:
        self._store = store
        self._layout = layout
        self._clock = clock
        self._policy = policy or RetentionPolicy()
        self._folders = folders
        self._written: frozenset[_Written] = frozenset()
        """Logs that somebody wrote at the last look: he may have gone on until he was gone."""
        self._log = LogOnce(logger)

    async def run(self) -> None:
        """Pass after pass. Never raises for what goes wrong outside of us."""
        num_passes = 0
        while True:
            await asyncio.sleep(_PASS_S)
            await self.tidy()
            if num_passes % _PASSES_TO_SWEEP == 0:
                await self.sweep()
            num_passes += 1

    async def tidy(self) -> None:
        """What cannot wait: logs that grow, and copies that fill the disk."""
        await self._do("logs", self._bound_logs)
        await self._do("working copies", self._remove_working_copies)

    async def sweep(self) -> None:
        """Forget what is old, and remove what was missed."""
        await self._do("old replicas", self._forget_replicas)
        await self._do("old events", self._forget_events)
        await self._do("stray folders", self._sweep_folders)

    async def _do(self, part: str, chore: Callable[[], Iterator[object]]) -> None:
        """Batch after batch, each in a thread."""
        try:
            batches = chore()
            while await asyncio.to_thread(next, batches, _DONE) is not _DONE:
                await asyncio.sleep(_PAUSE_S)
        except Exception as error:  # the database is away, a disk is full: a later pass tries again
            self._log.failed(part, f"{type(error).__name__}: {error}")
        else:
            self._log.worked(part)

    def _bound_logs(self) -> Iterator[None]:
        written = frozenset(self._logs())
        for log in written | self._written:
            try:
                bound_log(log.path, log.bound)
            except OSError as error:
                why = f"it cannot be kept from growing: {error.strerror}"
                self._log.failed(f"log {log.path}", why)
        self._written = written
        yield

    def _logs(self) -> Iterator["_Written"]:
        with self._store.read() as reading:
            replicas, runs = reading.replicas(live_only=True), reading.runs(open_only=True)
        for replica in replicas:
            path = self._layout.replicas / replica.replica_id / LOG_FILE
            yield _Written(path, self._policy.replica_log)
        for run in runs:
            yield _Written(self._layout.runs / run.run_id / LOG_FILE, self._policy.run_log)

    def _remove_working_copies(self) -> Iterator[None]:
        while self._folders.remove_working_copies(self._clock(), self._policy):
            yield

    def _forget_replicas(self) -> Iterator[None]:
        for ids in forget_replicas(self._store, self._clock(), self._policy.replicas):
            self._folders.remove_replicas(ids)
            yield

    def _forget_events(self) -> Iterator[int]:
        yield from forget_events(self._store, self._clock(), self._policy.events)

    def _sweep_folders(self) -> Iterator[None]:
        self._folders.sweep(self._clock(), self._policy)
        yield


@dataclass(frozen=True, slots=True)
class _Written:
    """A log that somebody writes."""

    path: Path
    bound: LogBound
