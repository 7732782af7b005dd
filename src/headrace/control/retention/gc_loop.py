"""The garbage collection loop: periodic, in small batches.

An error of one task does not affect the others, and is logged when it changes.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from headrace.control.launchers.process import LOG_FILE
from headrace.control.layout import DAEMONS, Layout
from headrace.control.log_on_change import ChangeLogger
from headrace.control.retention.folders import Folders
from headrace.control.retention.log_truncation import truncate_log
from headrace.control.retention.policy import LogLimit, RetentionPolicy
from headrace.control.retention.prune import prune_events, prune_replicas
from headrace.control.store.store import Store

logger = logging.getLogger("headrace.control")

_LOG_PASS_S = 2.0
_BUSY_LOG_PASS_S = 0.25
"""While a log keeps exceeding its limit."""
_PASS_S = 60.0
_PASSES_TO_SWEEP = 10
_PAUSE_S = 0.05
"""Between two batches, so that other writers can use the store and the disk."""
_DONE = object()


class GcLoop:
    """``await run()`` until cancelled."""

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
        """Open logs of the last pass: they may have grown until their writers ended."""
        self._has_looked = False
        """The first pass covers every run: one may have ended while no control plane ran."""
        self._log = ChangeLogger(logger)

    async def run(self) -> None:
        """Run passes. Never raises for errors of the database or the disk."""
        await asyncio.gather(self._keep_logs_bounded(), self._keep_tidy())

    async def truncate_logs(self) -> bool:
        """Truncate the open logs; whether any exceeded its limit."""
        bounded: list[Path] = []
        await self._do("logs", lambda: self._truncate_logs(bounded))
        return bool(bounded)

    async def tidy(self) -> None:
        """Trim the folders of gone replicas."""
        await self._do("gone replicas", self._trim_replicas)

    async def sweep(self) -> None:
        """Prune old replicas and events, and remove stray folders."""
        await self._do("old replicas", self._prune_replicas)
        await self._do("old events", self._prune_events)
        await self._do("stray folders", self._sweep_folders)

    async def _keep_logs_bounded(self) -> None:
        while True:
            is_busy = await self.truncate_logs()
            await asyncio.sleep(_BUSY_LOG_PASS_S if is_busy else _LOG_PASS_S)

    async def _keep_tidy(self) -> None:
        num_passes = 0
        while True:
            await asyncio.sleep(_PASS_S)
            await self.tidy()
            if num_passes % _PASSES_TO_SWEEP == 0:
                await self.sweep()
            num_passes += 1

    async def _do(self, part: str, task: Callable[[], Iterator[object]]) -> None:
        """Run a task batch by batch, each in a thread."""
        try:
            batches = task()
            while await asyncio.to_thread(next, batches, _DONE) is not _DONE:
                await asyncio.sleep(_PAUSE_S)
        except Exception as error:  # the database is unavailable, a disk is full: retried later
            self._log.failed(part, f"{type(error).__name__}: {error}")
        else:
            self._log.succeeded(part)

    def _truncate_logs(self, bounded: list[Path]) -> Iterator[None]:
        written = frozenset(self._logs())
        for log in written | self._written:
            part = f"log {log.path}"
            try:
                if truncate_log(log.path, log.bound):
                    bounded.append(log.path)
            except OSError as error:
                self._log.failed(part, f"cannot be truncated: {error.strerror}")
            else:
                self._log.succeeded(part)
        self._written = written
        self._has_looked = True
        yield

    def _logs(self) -> Iterator["_Written"]:
        with self._store.read() as queries:
            replicas = queries.replicas(live_only=True)
            runs = queries.runs(open_only=self._has_looked)
        for replica in replicas:
            path = self._layout.replicas / replica.replica_id / LOG_FILE
            yield _Written(path, self._policy.replica_log)
        for run in runs:
            yield _Written(self._layout.runs / run.run_id / LOG_FILE, self._policy.run_log)
        for name in DAEMONS:
            yield _Written(self._layout.daemon_log(name), self._policy.own_log)

    def _trim_replicas(self) -> Iterator[None]:
        while self._folders.trim_replicas(self._clock(), self._policy):
            yield

    def _prune_replicas(self) -> Iterator[None]:
        for ids in prune_replicas(self._store, self._clock(), self._policy.replicas):
            self._folders.remove_replicas(ids)
            yield

    def _prune_events(self) -> Iterator[int]:
        yield from prune_events(self._store, self._clock(), self._policy.events)

    def _sweep_folders(self) -> Iterator[None]:
        self._folders.sweep(self._clock(), self._policy)
        yield


@dataclass(frozen=True, slots=True)
class _Written:
    """An open log and its limit."""

    path: Path
    bound: LogLimit
