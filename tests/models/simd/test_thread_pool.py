"""A pool runs every task exactly once, for any number of threads, tasks and pauses."""

import signal
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.errors import ConcurrentCallError, KernelError
from headrace.models.simd import thread_pool
from headrace.models.simd.atomics import atomic_load, atomic_store, fetch_add, sched_yield
from headrace.models.simd.kernel import kernel_of, read
from headrace.models.simd.thread_pool import ThreadPool

DEADLINE_S = 20.0


class Count(NamedTuple):
    counters: int
    step: int


class Gate(NamedTuple):
    num_inside: int
    is_open: int


@kernel_of(Count)
def count(arguments: int, task: int) -> bool:
    """Add the job's step to the task's counter."""
    job = read(Count, arguments)
    fetch_add(job.counters + 8 * task, job.step)
    return True


@kernel_of(Gate)
def wait_at_gate(arguments: int, task: int) -> bool:
    gate = read(Gate, arguments)
    fetch_add(gate.num_inside, 1)
    while atomic_load(gate.is_open) == 0:
        sched_yield()
    return True


@kernel_of(Count)
def fail_every_second(arguments: int, task: int) -> bool:
    job = read(Count, arguments)
    fetch_add(job.counters + 8 * task, job.step)
    if task % 2:
        raise ValueError("an odd task")
    return True


@settings(max_examples=20, deadline=None)
@given(
    num_threads=st.integers(1, 5),
    jobs=st.lists(st.integers(0, 40), min_size=1, max_size=150),
)
def test_every_task_of_every_job_is_done_once(num_threads: int, jobs: list[int]) -> None:
    pool = ThreadPool(num_threads)
    for step, num_tasks in enumerate(jobs, 1):
        counters = np.zeros(41, np.int64)
        pool.run(count, num_tasks, Count(counters.ctypes.data, step))
        assert (counters[:num_tasks] == step).all()
        assert (counters[num_tasks:] == 0).all()


@numba.njit(nogil=True, error_model="numpy")
def run_many(
    pool: int, function: int, arguments: int, counters: int, num_threads: int, num_jobs: int
) -> int:
    """Jobs of 2 to 33 tasks in quick succession; returns the number of failures."""
    num_wrong = 0
    for job in range(num_jobs):
        num_tasks = 2 + job * 7919 % 32
        for task in range(64):
            atomic_store(counters + 8 * task, 0)
        status = thread_pool._run(pool, function, arguments, num_tasks, num_threads)
        is_wrong = status != 0
        for task in range(64):
            if atomic_load(counters + 8 * task) != (1 if task < num_tasks else 0):
                is_wrong = True
        if is_wrong:
            num_wrong += 1
    return num_wrong


def test_jobs_in_quick_succession_on_more_threads_than_processors() -> None:
    """Published by compiled code, since Python is too slow between two jobs for most races."""
    pool = ThreadPool(5)
    counters = np.zeros(64, np.int64)
    arguments = np.array([counters.ctypes.data, 1], np.int64)
    addresses = (pool._address, count.address, arguments.ctypes.data, counters.ctypes.data)
    end = time.monotonic() + 2.0
    while time.monotonic() < end:
        pool.run(count, 2, Count(counters.ctypes.data, 1))  # wakes the workers
        assert run_many(*addresses, 5, 10_000) == 0


@pytest.mark.parametrize(("num_threads", "num_tasks"), [(1, 1), (1, 3), (2, 1), (3, 8)])
def test_a_concurrent_caller_gets_an_error(num_threads: int, num_tasks: int) -> None:
    pool = ThreadPool(num_threads)
    words = np.zeros(2, np.int64)
    num_inside, is_open = words.ctypes.data, words.ctypes.data + 8
    counters = np.zeros(8, np.int64)
    first = threading.Thread(target=pool.run, args=(wait_at_gate, num_tasks, (num_inside, is_open)))
    first.start()
    try:
        wait_until(lambda: words[0] > 0)
        for second in (1, 4):
            with pytest.raises(ConcurrentCallError):
                pool.run(count, second, Count(counters.ctypes.data, 1))
    finally:
        words[1] = 1
        first.join()
    assert words[0] == num_tasks
    assert (counters == 0).all()
    pool.run(count, 8, Count(counters.ctypes.data, 1))
    assert (counters == 1).all()


@pytest.mark.parametrize(("num_threads", "num_tasks"), [(1, 2), (2, 2), (3, 9)])
def test_a_task_that_raises_is_an_error_of_the_call(
    num_threads: int, num_tasks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: reported.append(str(args.exc_value)))
    pool = ThreadPool(num_threads)
    counters = np.zeros(16, np.int64)
    for step in (1, 2):
        with pytest.raises(KernelError, match="fail_every_second"):
            pool.run(fail_every_second, num_tasks, Count(counters.ctypes.data, 1))
        assert (counters[:num_tasks] == step).all()
    assert reported == ["an odd task"] * (num_tasks // 2 * 2)
    pool.run(count, num_tasks, Count(counters.ctypes.data, 1))
    assert (counters[:num_tasks] == 3).all()


def test_unpackable_arguments_leave_the_pool_usable() -> None:
    pool = ThreadPool(2)
    counters = np.zeros(4, np.int64)
    for arguments in [(counters.ctypes.data,), (counters.ctypes.data, 1, 2), (0.5, 1), (None, 1)]:
        with pytest.raises(struct.error):
            pool.run(count, 4, arguments)  # type: ignore[arg-type]
    assert (counters == 0).all()
    pool.run(count, 4, Count(counters.ctypes.data, 1))
    assert (counters == 1).all()


class InterruptedCallError(Exception):
    pass


def test_an_interrupted_call_leaves_the_pool_usable() -> None:
    """As by Ctrl-C, at any moment."""

    def interrupt(*_: object) -> None:
        raise InterruptedCallError

    pool = ThreadPool(2)
    counters = np.zeros(4, np.int64)
    num_interrupted = 0
    before = signal.signal(signal.SIGVTALRM, interrupt)
    try:
        for _ in range(100):
            try:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0.000_5)
                while True:
                    pool.run(count, 4, Count(counters.ctypes.data, 1))
            except InterruptedCallError:
                num_interrupted += 1
            counters[:] = 0
            pool.run(count, 4, Count(counters.ctypes.data, 1))
            assert (counters == 1).all()
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    assert num_interrupted == 100


def test_parked_workers_resume() -> None:
    pool = ThreadPool(3)
    counters = np.zeros(8, np.int64)
    for _ in range(3):
        wait_until(lambda: pool.num_parked == 2)
        pool.run(count, 8, Count(counters.ctypes.data, 1))
        wait_until(lambda: pool.num_parked < 2 or bool((counters > 0).all()))
    assert (counters == 3).all()


def test_a_deleted_pool_leaves_no_threads() -> None:
    before = set(threading.enumerate())
    pool = ThreadPool(4)
    workers = set(threading.enumerate()) - before
    assert len(workers) == 3
    del pool
    wait_until(lambda: not any(worker.is_alive() for worker in workers))


@pytest.mark.parametrize("num_tasks", [1, 2])
def test_a_pool_of_one_starts_no_threads(num_tasks: int) -> None:
    counters = np.zeros(2, np.int64)
    before = set(threading.enumerate())
    ThreadPool(1).run(count, num_tasks, Count(counters.ctypes.data, 5))
    assert counters.sum() == 5 * num_tasks
    assert set(threading.enumerate()) <= before


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)
