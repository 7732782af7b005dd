"""A pool of threads that share out the tasks of one kernel call after the other.

Tasks are taken one by one from a counter by whoever is free, the caller among them, and the caller
waits only for tasks that somebody has begun. So a thread that the system has taken off its
processor costs one task's delay, not a whole barrier's; on a machine that has other things to do,
that is the difference between a little slower and many times slower. Knows no kernels.

A call takes the next of a ring of slots: it closes the slot's counter, writes the job, opens the
counter, and then announces the slot by its number. Who is late finds a counter that is used up, or
closed, or, a full turn of the ring later, the counter of another job, whose tasks it may do as
well as any: everything about a job is read after a task of it was taken.
"""

import threading
import weakref
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from headrace.models.simd.atomics import (
    atomic_load,
    atomic_store,
    call_task,
    fetch_add,
    sched_yield,
    usleep,
)
from headrace.models.simd.jit import Task, detached, subroutine

_WORD = 8
_LINE = 64  # bytes; no two of these share a line of the processor's cache
_ANNOUNCED, _STOP, _PARKED, _SLOTS = 0, _LINE, 2 * _LINE, 3 * _LINE
_NUM_SLOTS = 64
_NEXT, _DONE, _FUNCTION, _ARGUMENTS, _NUM_TASKS = 0, _LINE, 2 * _LINE, 2 * _LINE + 8, 2 * _LINE + 16
_SLOT_BYTES = 3 * _LINE
_CLOSED = 1 << 40

_NUM_SPINS = 50_000
"""Looks for new work before a worker sleeps between looks: some tens of microseconds."""
_SLEEP_US = 50
_NUM_SLEEPS = 200
"""Sleeps before a worker parks, until it is woken: about twenty milliseconds."""
_NUM_SPINS_BEFORE_YIELD = 200
"""Looks at an unfinished task before the caller yields its processor to another thread."""

_MAX_ARGUMENTS = 64


class ThreadPool:
    """num_threads - 1 worker threads, and the caller. One caller at a time."""

    def __init__(self, num_threads: int = 1) -> None:
        self.num_threads = num_threads
        words = (_SLOTS + _NUM_SLOTS * _SLOT_BYTES) // _WORD
        self._memory = np.zeros(words, np.int64)
        for slot in range(_NUM_SLOTS):
            self._memory[(_SLOTS + slot * _SLOT_BYTES) // _WORD] = _CLOSED
        self._address: int = self._memory.ctypes.data
        self._arguments = np.zeros(_MAX_ARGUMENTS, np.int64)
        self._floats = self._arguments.view(np.float64)
        self._arguments_address: int = self._arguments.ctypes.data
        self._wake = threading.Condition()
        shared = (self._memory, self._wake)
        for _ in range(num_threads - 1):
            threading.Thread(target=_work, args=shared, name="kernels", daemon=True).start()
        weakref.finalize(self, _stop, *shared)

    @property
    def num_parked(self) -> int:
        """Workers that sleep until there is work."""
        return int(self._memory[_PARKED // _WORD])

    def run(self, task: Task, num_tasks: int, integers: Sequence[int], *floats: float) -> None:
        """Do tasks [0, num_tasks), all of them done on return.

        integers: what the task finds at its arguments' address, int64 each; floats follow them,
        float64 each.
        """
        count = len(integers)
        self._arguments[:count] = integers
        for index, value in enumerate(floats):
            self._floats[count + index] = value
        if self.num_threads == 1 or num_tasks == 1:
            _run_alone(task.address, self._arguments_address, num_tasks)
            return
        if self.num_parked:
            with self._wake:
                self._wake.notify_all()
        _run(self._address, task.address, self._arguments_address, num_tasks)


def _work(memory: npt.NDArray[np.int64], wake: threading.Condition) -> None:
    """A worker's life: serve, park when there has been no work for long, serve again."""
    address = memory.ctypes.data
    seen = 0
    while not memory[_STOP // _WORD]:
        seen = _serve(address, seen)
        _add(address + _PARKED, 1)
        with wake:
            # A caller that announces a job after this look finds this worker parked.
            if memory[_ANNOUNCED // _WORD] == seen and not memory[_STOP // _WORD]:
                wake.wait()
        _add(address + _PARKED, -1)


def _stop(memory: npt.NDArray[np.int64], wake: threading.Condition) -> None:
    memory[_STOP // _WORD] = 1
    with wake:
        wake.notify_all()


@detached
def _add(address: int, value: int) -> None:
    fetch_add(address, value)


@detached
def _run_alone(function: int, arguments: int, num_tasks: int) -> None:
    for task in range(num_tasks):
        call_task(function, arguments, task)


@detached
def _run(pool: int, function: int, arguments: int, num_tasks: int) -> None:
    """Publish a job, take part in it and wait for its end."""
    number = atomic_load(pool + _ANNOUNCED) + 1
    slot = pool + _SLOTS + number % _NUM_SLOTS * _SLOT_BYTES
    atomic_store(slot + _NEXT, _CLOSED)
    atomic_store(slot + _DONE, 0)
    atomic_store(slot + _FUNCTION, function)
    atomic_store(slot + _ARGUMENTS, arguments)
    atomic_store(slot + _NUM_TASKS, num_tasks)
    atomic_store(slot + _NEXT, 0)
    atomic_store(pool + _ANNOUNCED, number)
    _take_part(slot)
    spins = 0
    while atomic_load(slot + _DONE) < num_tasks:
        spins += 1
        if spins > _NUM_SPINS_BEFORE_YIELD:
            sched_yield()


@subroutine
def _take_part(slot: int) -> None:
    """Do tasks of the slot's job until none is left."""
    while True:
        task = fetch_add(slot + _NEXT, 1)
        if task >= atomic_load(slot + _NUM_TASKS):
            return
        call_task(atomic_load(slot + _FUNCTION), atomic_load(slot + _ARGUMENTS), task)
        fetch_add(slot + _DONE, 1)


@detached
def _serve(pool: int, seen: int) -> int:
    """Take part in jobs as they are announced, after number ``seen``.

    Gives the last number seen when there has been no work for long, or the pool is closed.
    """
    spins = 0
    sleeps = 0
    while atomic_load(pool + _STOP) == 0:
        announced = atomic_load(pool + _ANNOUNCED)
        if announced != seen:
            seen = announced
            spins = 0
            sleeps = 0
            _take_part(pool + _SLOTS + seen % _NUM_SLOTS * _SLOT_BYTES)
            continue
        if spins < _NUM_SPINS:
            spins += 1
        elif sleeps < _NUM_SLEEPS:
            sleeps += 1
            usleep(_SLEEP_US)
        else:
            break
    return seen
