"""Finds processes that were started for replicas which nobody remembers, and ends them.

They are left when the control plane is killed between starting a process and writing that down.
Knows the mark that each launch leaves in its environment; knows no store.
"""

import os
import signal
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from headrace.control.processes.process_group import LAUNCH_NAME_VARIABLE
from headrace.control.resources import ProcessHandle


@dataclass(frozen=True, slots=True)
class Orphan:
    name: str
    """Under which it was launched: a replica's id."""
    group_id: int


def find_orphans(folder: Path, known: Mapping[str, ProcessHandle]) -> list[Orphan]:
    """Groups whose name has a folder here and is not known, or is known with another process."""
    names = _names(folder)
    found = {
        Orphan(name, group_id)
        for name, group_id in _marked_groups(names)
        if name not in known or known[name].pid != group_id
    }
    return sorted(found, key=lambda orphan: (orphan.name, orphan.group_id))


def kill_orphan(orphan: Orphan) -> None:
    """SIGKILL to all of it: nothing is routed to it, and nobody waits for what it does."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(orphan.group_id, signal.SIGKILL)


def _names(folder: Path) -> frozenset[str]:
    try:
        return frozenset(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except OSError:
        return frozenset()


def _marked_groups(names: Collection[str]) -> Iterator[tuple[str, int]]:
    if not names:
        return
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            name = process.environ().get(LAUNCH_NAME_VARIABLE)
            group_id = os.getpgid(process.pid)
            # Each launch leads a session of its own; the mark is inherited beyond it.
            if name in names and group_id == os.getsid(process.pid):
                yield str(name), group_id
