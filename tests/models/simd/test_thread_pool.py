"""A pool does every task exactly once, however many threads, tasks and pauses there are."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.models.simd.atomics import fetch_add
from headrace.models.simd.jit import Task
from headrace.models.simd.scalars import load_f64, load_i64
from headrace.models.simd.thread_pool import ThreadPool

DEADLINE_S = 20.0


@Task
def count(arguments: int, task: int) -> None:
    """Add the job's step to the task's counter."""
    fetch_add(load_i64(arguments) + 8 * task, load_i64(arguments + 8))


@Task
def count_float(arguments: int, task: int) -> None:
    fetch_add(load_i64(arguments), int(load_f64(arguments + 8) * 2))


@settings(max_examples=20, deadline=None)
@given(
    num_threads=st.integers(1, 5),
    jobs=st.lists(st.integers(1, 40), min_size=1, max_size=150),  # past the ring's end
)
def test_every_task_of_every_job_is_done_once(num_threads: int, jobs: list[int]) -> None:
    pool = ThreadPool(num_threads)
    for step, num_tasks in enumerate(jobs, 1):
        counters = np.zeros(41, np.int64)
        pool.run(count, num_tasks, (counters.ctypes.data, step))
        assert (counters[:num_tasks] == step).all()
        assert (counters[num_tasks:] == 0).all()


def test_floats_follow_the_integers() -> None:
    counter = np.zeros(1, np.int64)
    ThreadPool(2).run(count_float, 3, (counter.ctypes.data,), 21.0)
    assert counter[0] == 126


def test_workers_that_parked_come_back() -> None:
    pool = ThreadPool(3)
    counters = np.zeros(8, np.int64)
    for _ in range(3):
        wait_until(lambda: pool.num_parked == 2)
        pool.run(count, 8, (counters.ctypes.data, 1))
        wait_until(lambda: pool.num_parked < 2 or bool((counters > 0).all()))
    assert (counters == 3).all()


def test_a_team_that_is_gone_leaves_no_threads() -> None:
    before = set(threading.enumerate())
    pool = ThreadPool(4)
    workers = set(threading.enumerate()) - before
    assert len(workers) == 3
    del pool
    wait_until(lambda: not any(worker.is_alive() for worker in workers))


@pytest.mark.parametrize("num_tasks", [1, 2])
def test_one_thread_needs_no_other(num_tasks: int) -> None:
    counters = np.zeros(2, np.int64)
    before = set(threading.enumerate())
    ThreadPool(1).run(count, num_tasks, (counters.ctypes.data, 5))
    assert counters.sum() == 5 * num_tasks
    assert set(threading.enumerate()) <= before


def wait_until(holds) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)
