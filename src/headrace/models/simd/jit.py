"""How kernels are compiled: one decorator for what Python calls, one for what kernels call.

Compiled code is kept under $HEADRACE_HOME/cache/kernels, in a folder named by a digest of all the
kernels' sources: Numba alone looks at one file's time stamp, but a kernel is made from several.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
import numba.extending

from headrace.core.home import headrace_home

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """A function that Python calls, whose ``prange`` loops run on all threads."""
    return _jit(function, parallel=True)


def subroutine(function: Function) -> Function:
    """A function that kernels call, on one thread."""
    return _jit(function)


def intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that writes LLVM IR itself; its parameters are Numba types (the first one is
    Numba's typing context, which callers leave out)."""
    wrapped: Callable[..., Any] = numba.extending.intrinsic(function)
    return wrapped


def _jit(function: Function, **options: Any) -> Function:
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(headrace_home() / "cache" / "kernels" / _source_digest())
    try:
        return _compile(function, cache=True, **options)
    except RuntimeError:  # there is nowhere to write: compile at every start instead
        return _compile(function, **options)
    finally:
        numba.config.CACHE_DIR = before


def _compile(function: Function, **options: Any) -> Function:
    compiled: Function = numba.njit(error_model="numpy", **options)(function)
    return compiled


@cache
def _source_digest() -> str:
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
