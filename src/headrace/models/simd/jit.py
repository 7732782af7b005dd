"""How kernels are compiled: a decorator for what threads run, one for what that calls.

Compiled code is kept in a folder named by a digest of all the kernels' sources (see kernel_cache):
Numba alone looks at one file's time stamp, but a kernel is made from several.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
import numba.extending

from headrace.core.home import headrace_home
from headrace.models.simd.kernel_cache import kernel_folder

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
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
