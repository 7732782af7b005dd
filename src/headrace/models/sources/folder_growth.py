"""Turns the growth of a folder into progress. Does not know who writes into it."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.models.sources.progress import Progress

POLL_S = 0.2


class FolderGrowth:
    """Reports how much larger a folder is than the last time one looked."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder = folder
        self._progress = progress
        self._largest = folder_size(folder)

    def report(self) -> None:
        """Advance by what was added; a folder that shrinks (a file moved away) goes on later."""
        size = folder_size(self._folder)
        if size > self._largest:
            self._progress.advance(size - self._largest)
            self._largest = size


@contextmanager
def reporting_growth(folder: Path, progress: Progress) -> Iterator[None]:
    """Report the folder's growth from a thread for as long as the block runs."""
    growth = FolderGrowth(folder, progress)
    done = threading.Event()

    def watch() -> None:
        while not done.wait(POLL_S):
            growth.report()

    thread = threading.Thread(target=watch, name="folder-growth", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        growth.report()


def folder_size(folder: Path) -> int:
    """Bytes on disk below the folder; links are not followed, files that vanish are not counted.

    Counts allocated blocks, because some downloaders write sparse files; a file's length bounds it.
    """
    total = 0
    pending = [str(folder)]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        total += min(status.st_size, status.st_blocks * 512)
        except OSError:  # gone between listing and looking
            continue
    return total
