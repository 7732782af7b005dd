"""A pool of threads that share out the tasks of one kernel call after the other.

The caller takes part, and waits only for tasks that another thread has taken. So a thread that the
system has preempted delays one task, where a barrier would delay all threads; on a busy machine
that makes a call a little slower instead of many times slower.

One word decides which thread does what: the number of tasks left. A call writes its job (function,
arguments, number of tasks) and then opens it by storing the number of tasks in that word; a thread
takes a task by subtracting one, and a thread that finds 0 or less has none. A finished job leaves
the word at 0 or below until the next one is opened. So a thread that is late, by however much, gets
no task, or one of the job that is open then, which stays as it is until that task is done.

All atomics are sequentially consistent, and the rest of a job is written before its tasks are
opened and read after one was taken. So what holds for every interleaving of these steps holds on
every processor; tests/models/simd/test_thread_pool_protocol.py runs this file's own functions
through all of them.
"""

import threading
import weakref
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from headrace.core.errors import ConcurrentCallError, KernelError
from headrace.models.simd.atomics import (
    atomic_load,
    atomic_store,
    call_kernel,
    fetch_add,
    sched_yield,
    usleep,
)
from headrace.models.simd.jit import detached, subroutine
from headrace.models.simd.kernel import MAX_ARGUMENTS, Kernel
from headrace.models.simd.scalars import load_i64, store_i64

_Arguments = TypeVar("_Arguments", bound=tuple[float, ...])

_WORD = 8
_LINE = 64  # bytes; words that different threads write share no line of the processor's cache
_NUM_LEFT = 0
"""Tasks of the open job that no thread has taken. Each thread that finds none subtracts one too,
once a job."""
_NUM_DONE = _LINE
_NUM_FAILED = _LINE + _WORD
_FUNCTION, _ARGUMENTS, _NUM_TASKS = 2 * _LINE, 2 * _LINE + _WORD, 2 * _LINE + 2 * _WORD
_NUM_PUBLISHED = 3 * _LINE
"""Jobs so far; waiting workers poll it."""
_STOP = 4 * _LINE
_NUM_PARKED = 5 * _LINE
_NUM_CALLERS = 6 * _LINE
_NUM_BYTES = 7 * _LINE

_NUM_SPINS = 50_000
"""Polls before a worker sleeps between polls: some tens of microseconds."""
_SLEEP_US = 50
_NUM_SLEEPS = 200
"""Sleeps before a worker parks, until it is woken: about twenty milliseconds."""
_NUM_SPINS_BEFORE_YIELD = 200
"""Polls of an unfinished task before the caller yields its processor to another thread."""

_REFUSED = -1


class ThreadPool:
    """num_threads - 1 worker threads, and the caller. One caller at a time."""

    def __init__(self, num_threads: int = 1) -> None:
        self.num_threads = num_threads
        self._memory = np.zeros(_NUM_BYTES // _WORD, np.int64)
        self._address: int = self._memory.ctypes.data
        self._words = self._memory.data
        self._blocks = _ArgumentBlocks()
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        shared = (self._memory, self._wake)
        for _ in range(num_threads - 1):
            threading.Thread(target=_work, args=shared, name="kernels", daemon=True).start()
        weakref.finalize(self, _stop, *shared)

    @property
    def num_parked(self) -> int:
        """Workers that sleep until there is work."""
        return int(self._words[_NUM_PARKED // _WORD])

    def run(self, kernel: Kernel[_Arguments], num_tasks: int, arguments: _Arguments) -> None:
        """Do tasks [0, num_tasks), begun in that order; all of them are done on return.

        Raises ConcurrentCallError, with nothing done, while another thread is in this call, and
        KernelError if a task raised an error; the pool can be used again after both.
        """
        block = self._blocks.block
        kernel.pack_into(block.memory, 0, *arguments)
        if self._words[_NUM_PARKED // _WORD]:
            with self._lock:  # whose "with", unlike a condition's, no signal handler can come into
                self._wake.notify_all()
        num_failed = _run(self._address, kernel.address, block.address, num_tasks, self.num_threads)
        if num_failed != 0:
            raise _error(num_failed, kernel.name)


class _ArgumentBlock:
    """Memory for the arguments of one call."""

    def __init__(self) -> None:
        words = np.zeros(MAX_ARGUMENTS, np.int64)
        self.memory = words.data
        self.address: int = words.ctypes.data


class _ArgumentBlocks(threading.local):
    """A block for each thread that calls: a second caller cannot write into the first one's."""

    def __init__(self) -> None:
        self.block = _ArgumentBlock()


def _error(num_failed: int, name: str) -> Exception:
    if num_failed == _REFUSED:
        return ConcurrentCallError(
            "Two threads computed with one model at the same time. It takes one caller at a time: "
            "use a lock around the calls, or a model for each thread."
        )
    return KernelError(f"The CPU kernel {name} failed; standard error has its traceback.")


def _work(memory: npt.NDArray[np.int64], wake: threading.Condition) -> None:
    """A worker's loop: serve, park when there has been no work for long, serve again."""
    address = memory.ctypes.data
    seen = 0
    while not memory[_STOP // _WORD]:
        seen = _serve(address, seen)
        _add(address + _NUM_PARKED, 1)
        with wake:
            # A caller that publishes a job between this look and the wait does without this
            # worker, and wakes it at its next call.
            if memory[_NUM_PUBLISHED // _WORD] == seen and not memory[_STOP // _WORD]:
                wake.wait()
        _add(address + _NUM_PARKED, -1)


def _stop(memory: npt.NDArray[np.int64], wake: threading.Condition) -> None:
    memory[_STOP // _WORD] = 1
    with wake:
        wake.notify_all()


@detached
def _add(address: int, value: int) -> None:
    fetch_add(address, value)


@detached
def _run(pool: int, function: int, arguments: int, num_tasks: int, num_threads: int) -> int:
    """Do a job; gives the number of tasks that failed, or _REFUSED if another caller is here."""
    if fetch_add(pool + _NUM_CALLERS, 1) != 0:
        fetch_add(pool + _NUM_CALLERS, -1)
        return _REFUSED
    if num_threads == 1 or num_tasks == 1:
        num_failed = _run_alone(function, arguments, num_tasks)
    else:
        num_failed = _run_shared(pool, function, arguments, num_tasks)
    fetch_add(pool + _NUM_CALLERS, -1)
    return num_failed


@subroutine
def _run_alone(function: int, arguments: int, num_tasks: int) -> int:
    num_failed = 0
    for task in range(num_tasks):
        if not call_kernel(function, arguments, task):
            num_failed += 1
    return num_failed


@subroutine
def _run_shared(pool: int, function: int, arguments: int, num_tasks: int) -> int:
    """Publish a job, take part in it and wait for the tasks that others have taken."""
    store_i64(pool + _FUNCTION, function)
    store_i64(pool + _ARGUMENTS, arguments)
    store_i64(pool + _NUM_TASKS, num_tasks)
    atomic_store(pool + _NUM_FAILED, 0)
    atomic_store(pool + _NUM_DONE, 0)
    atomic_store(pool + _NUM_LEFT, num_tasks)  # from here on, threads take tasks
    fetch_add(pool + _NUM_PUBLISHED, 1)
    _take_part(pool)
    spins = 0
    while atomic_load(pool + _NUM_DONE) < num_tasks:
        spins += 1
        if spins > _NUM_SPINS_BEFORE_YIELD:
            sched_yield()
    num_failed: int = atomic_load(pool + _NUM_FAILED)
    return num_failed


@subroutine
def _take_part(pool: int) -> None:
    """Do tasks of the open job until none is left."""
    while True:
        num_left = fetch_add(pool + _NUM_LEFT, -1)
        if num_left <= 0:
            return
        # In ascending order: a kernel's tasks lie one after the other in memory, and the processor
        # fetches ahead of the one that is read.
        task = load_i64(pool + _NUM_TASKS) - num_left
        if not call_kernel(load_i64(pool + _FUNCTION), load_i64(pool + _ARGUMENTS), task):
            fetch_add(pool + _NUM_FAILED, 1)
        fetch_add(pool + _NUM_DONE, 1)


@detached
def _serve(pool: int, seen: int) -> int:
    """Take part in jobs as they are published, after the first ``seen`` of them.

    Gives the number of jobs seen when there has been no work for long, or the pool is closed.
    """
    spins = 0
    sleeps = 0
    while atomic_load(pool + _STOP) == 0:
        published = atomic_load(pool + _NUM_PUBLISHED)
        if published != seen:
            seen = published
            spins = 0
            sleeps = 0
            _take_part(pool)
        elif spins < _NUM_SPINS:
            spins += 1
        elif sleeps < _NUM_SLEEPS:
            sleeps += 1
            usleep(_SLEEP_US)
        else:
            break
    return seen
