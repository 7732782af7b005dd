"""Removes the folders of gone replicas and deleted runs.

A folder is removed after its row; a sweep finds folders that were missed. The folder of a running
process is never removed.
"""

import logging
import shutil
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from headrace.control.launchers.base import Launcher
from headrace.control.launchers.planning import ROOT_FOLDER
from headrace.control.launchers.process import LOG_FILE
from headrace.control.layout import Layout
from headrace.control.log_on_change import ChangeLogger
from headrace.control.retention.log_truncation import truncate_log
from headrace.control.retention.policy import RetentionPolicy
from headrace.control.store.retention_queries import Cursor
from headrace.control.store.store import Store

logger = logging.getLogger("headrace.control")

_MAX_NUM_REPLICAS = 20
_THE_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class Folders:
    """The folders of replicas and runs. Blocking: call the methods in a thread."""

    def __init__(self, store: Store, launcher: Launcher, layout: Layout) -> None:
        self._store = store
        self._launcher = launcher
        self._replicas, self._runs = layout.replicas, layout.runs
        self._mark = Cursor(_THE_BEGINNING)
        """The last trimmed replica."""
        self._log = ChangeLogger(logger)

    def remove_replicas(self, replica_ids: Iterable[str]) -> None:
        """Of replicas without rows. The sweep retries what cannot be removed."""
        for replica_id in replica_ids:
            self._remove(self._replicas / replica_id)

    def remove_run(self, run_id: str) -> None:
        """Of a run without a row. Its exports are elsewhere, and stay."""
        self._remove(self._runs / run_id)

    def trim_replicas(self, now: datetime, policy: RetentionPolicy) -> bool:
        """Remove the imports and truncate the logs of replicas that have been gone for
        ``trim_age``; whether there may be more.

        The targets of linked imports are not removed.
        """
        with self._store.read() as queries:
            until = now - policy.trim_age
            gone = queries.retention.gone_between(self._mark, until, _MAX_NUM_REPLICAS)
        for one in gone:
            folder = self._replicas / one.replica_id
            if not self._is_in_use(folder):
                self._remove_tree(folder / ROOT_FOLDER)
                self._truncate_log(folder / LOG_FILE, policy)
            self._mark = Cursor(one.at, one.replica_id)
        return len(gone) == _MAX_NUM_REPLICAS

    def sweep(self, now: datetime, policy: RetentionPolicy) -> None:
        """Remove folders of replicas without a row that were not modified for ``stray_age``.

        They remain if the control plane is killed before it removes them, or belong to another
        database that may be used again.
        """
        # Folders first: a replica has its row before its folder.
        names = _names(self._replicas)
        with self._store.read() as queries:
            known = queries.retention.known_replicas(names)
        for name in names:
            folder = self._replicas / name
            if name not in known and now - _touched_at(folder) > policy.stray_age:
                self._remove(folder)

    def _remove(self, folder: Path) -> None:
        if not self._is_in_use(folder):
            self._remove_tree(folder)

    def _remove_tree(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():  # such as files that a container wrote as another user
            self._log.failed(str(folder), "cannot be removed; it may have another user's files")
        else:
            self._log.succeeded(str(folder))

    def _truncate_log(self, log: Path, policy: RetentionPolicy) -> None:
        with suppress(OSError):  # reported by the retention loop
            truncate_log(log, policy.trimmed_log)

    def _is_in_use(self, folder: Path) -> bool:
        return self._launcher.find(folder.name, folder) is not None


def _names(root: Path) -> list[str]:
    try:
        return sorted(path.name for path in root.iterdir() if path.is_dir())
    except FileNotFoundError:
        return []


def _touched_at(folder: Path) -> datetime:
    """When anything in it was last modified."""
    times = [folder.stat().st_mtime, *(path.lstat().st_mtime for path in folder.iterdir())]
    return datetime.fromtimestamp(max(times), UTC)
