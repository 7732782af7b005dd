"""Where compiled kernels are kept from one start to the next.

Numba keeps them as pickles, and to load a pickle is to run what is in it. So the folder is for this
user alone, and nothing is loaded from a folder that another user could have written to; kernels
are then compiled at every start, and a warning says what to do. Knows no compiler.
"""

import logging
import os
import stat
import tempfile
from pathlib import Path

from headrace.core.errors import HeadraceError

logger = logging.getLogger(__name__)


class _UnsafeFolderError(HeadraceError):
    """Another user could run code as this one."""


def kernel_folder(home: Path, digest: str) -> Path | None:
    """$HEADRACE_HOME/cache/kernels/DIGEST, with mode 0700 where it is new.

    None, and a warning, if another user could have written to it or could replace it, and if it
    cannot be made.
    """
    try:
        return _make(home, digest)
    except (OSError, _UnsafeFolderError) as error:
        logger.warning(
            "The CPU kernels are compiled at every start, since they cannot be kept: %s", error
        )
        return None


def _make(home: Path, digest: str) -> Path:
    cache = home / "cache"
    kernels = cache / "kernels"
    folder = kernels / digest
    home.parent.mkdir(parents=True, exist_ok=True)
    is_private = False  # whether no other user reaches what is in the folder
    for each in (home, cache, kernels, folder):
        each.mkdir(mode=0o700, exist_ok=True)
        status = each.stat()
        holds_kernels = each in (kernels, folder)
        _check_owner(each, status)
        if not is_private:
            _check_writers(each, status, holds_kernels)
        is_private |= not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    tempfile.TemporaryFile(dir=folder).close()  # Numba would look for another place by itself
    return folder


def _check_owner(folder: Path, status: os.stat_result) -> None:
    if status.st_uid not in (os.geteuid(), 0):
        raise _UnsafeFolderError(
            f"{folder} belongs to another user (uid {status.st_uid}), who could run code as this "
            f"one (uid {os.geteuid()}). Set HEADRACE_HOME to a folder of your own."
        )


def _check_writers(folder: Path, status: os.stat_result, holds_kernels: bool) -> None:
    if not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return
    if holds_kernels:
        remedy = f"Remove it (rm -r '{folder}'), and it is made anew."
    elif status.st_mode & stat.S_ISVTX:
        return  # like /tmp: what is ours in it, only we can replace
    else:
        remedy = f"Take their permission away (chmod go-w '{folder}')."
    raise _UnsafeFolderError(
        f"other users can write to {folder}, and so could run code as this one. {remedy}"
    )
