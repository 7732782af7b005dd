"""How kernels are compiled: decorators for callbacks, their subroutines and Python entry points.

Compiled code is cached in a folder named by a digest of all the kernels' sources: Numba alone looks
at one file's time stamp, but a kernel is made from several.

Numba's cache files are pickles, and loading a pickle runs the code in it. So the folder belongs to
this user alone, and nothing is loaded from a folder that another user could have written to: then
kernels are compiled at every start, and a warning says what to do.
"""

import hashlib
import logging
import os
import stat
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
import numba.extending

from headrace.core.errors import HeadraceError
from headrace.core.home import headrace_home

logger = logging.getLogger(__name__)

Function = TypeVar("Function", bound=Callable[..., Any])


def callback(signature: str, function: Callable[..., Any]) -> Any:
    """A function that is called by its ``address``, compiled at once."""
    return _with_cache(numba.cfunc, signature)(function)


def subroutine(function: Function) -> Function:
    """A function that tasks call."""
    compiled: Function = _with_cache(numba.njit, error_model="numpy")(function)
    return compiled


def detached(function: Function) -> Function:
    """A function that Python calls, and that lets other Python threads run meanwhile."""
    compiled: Function = _with_cache(numba.njit, error_model="numpy", nogil=True)(function)
    return compiled


def intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that writes LLVM IR itself; its parameters are Numba types (the first one is
    Numba's typing context, which callers leave out)."""
    wrapped: Callable[..., Any] = numba.extending.intrinsic(function)
    return wrapped


def _with_cache(
    compiler: Callable[..., Any], *arguments: Any, **options: Any
) -> Callable[[Callable[..., Any]], Any]:
    def decorate(function: Callable[..., Any]) -> Any:
        folder = _folder(headrace_home())
        if folder is None:
            return compiler(*arguments, **options)(function)
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(folder)
        try:
            return compiler(*arguments, cache=True, **options)(function)
        except RuntimeError:  # the function comes from no file
            return compiler(*arguments, **options)(function)
        finally:
            numba.config.CACHE_DIR = before

    return decorate


@cache
def _folder(home: Path) -> Path | None:
    return kernel_folder(home, _source_digest())


@cache
def _source_digest() -> str:
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


class _UnsafeFolderError(HeadraceError):
    """Another user could run code as this one."""

    code = "unsafe_folder"


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
