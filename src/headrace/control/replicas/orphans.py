"""Finds and kills orphaned process groups of replicas.

A group is orphaned if the control plane was killed after it started the process and before it wrote
the handle to the store. It is found by the launch name in its environment.
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
    """Its launch name: a replica's id."""
    group_id: int


def find_orphans(folder: Path, known: Mapping[str, ProcessHandle]) -> list[Orphan]:
    """Groups whose launch name has a folder here, and that are not in ``known``."""
    names = _names(folder)
    found = {
        Orphan(name, group_id)
        for name, group_id in _marked_groups(names)
        if name not in known or known[name].pid != group_id
    }
    return sorted(found, key=lambda orphan: (orphan.name, orphan.group_id))


def kill_orphan(orphan: Orphan) -> None:
    """Send SIGKILL to the group: no request is routed to it."""
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
            # Each launch leads its own session; descendants in other sessions inherit the name.
            if name in names and group_id == os.getsid(process.pid):
                yield str(name), group_id
