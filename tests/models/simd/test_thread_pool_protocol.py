"""The thread pool's own functions, in every interleaving of their steps.

There is one job's worth of memory, so every job reuses what the one before it used: a worker that
stalls between two of its steps meets, in one of the interleavings, each later job at each of its
steps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from headrace.models.simd import thread_pool
from headrace.models.simd.atomics import atomic_load, atomic_store, call_kernel, fetch_add
from headrace.models.simd.scalars import load_i64, store_i64
from headrace.testing.interleavings import FaultError, Thread, as_threads, explore

POOL = 1000
NUM_LEFT, NUM_DONE = thread_pool._NUM_LEFT, thread_pool._NUM_DONE
FUNCTION, ARGUMENTS = thread_pool._FUNCTION, thread_pool._ARGUMENTS
NUM_TASKS = thread_pool._NUM_TASKS
LIMIT = 7 * thread_pool._LINE
CLOSED = 1 << 40

PROTOCOL = {
    name: getattr(thread_pool, name) for name in ("_run", "_run_alone", "_run_shared", "_take_part")
}


@dataclass(frozen=True)
class Case:
    """The callers' jobs, by their numbers of tasks, and how often each worker looks for tasks."""

    callers: tuple[tuple[int, ...], ...]
    workers: tuple[int, ...]
    failing: frozenset[int] = frozenset()
    """Tasks of every job that fail."""


def calls_of(case: Case, protocol: Mapping[str, Any]) -> Callable[[], list[Thread]]:
    """The threads of a case. A job's function is its number, its arguments that and a caller's."""

    def run_task(function: int, arguments: int, task: int) -> Thread:
        job = yield ("read", ("arguments", arguments))
        assert job == function, f"job {function} is called with the arguments of job {job}"
        count = yield ("read", ("count", job, task))
        yield ("write", ("count", job, task), count + 1)
        return task not in case.failing

    functions = as_threads(protocol, run_task, vars(thread_pool) | globals())

    def caller(number: int, jobs: tuple[int, ...]) -> Thread:
        for index, num_tasks in enumerate(jobs):
            job = 10 * number + index + 1
            yield ("write", ("arguments", number), job)
            status = yield from functions["_run"](POOL, job, number, num_tasks, 2)
            expected = 0 if status == thread_pool._REFUSED else 1
            if expected:
                num_failing = sum(task < num_tasks for task in case.failing)
                assert status == num_failing, f"{status} tasks of job {job} failed"
            for task in range(num_tasks + 1):
                count = yield ("read", ("count", job, task))
                assert count == expected * (task < num_tasks), f"{count} times {task} of job {job}"

    def worker(num_visits: int) -> Thread:
        for _ in range(num_visits):
            yield from functions["_take_part"](POOL)

    return lambda: [
        *(caller(number, jobs) for number, jobs in enumerate(case.callers)),
        *(worker(num_visits) for num_visits in case.workers),
    ]


def check_end(memory: Mapping[Any, int]) -> None:
    assert memory.get(POOL + thread_pool._NUM_CALLERS, 0) == 0


CASES = [
    # The next job has more tasks, then fewer; the worker may stall through all of it.
    Case(callers=((2, 3),), workers=(3,)),
    Case(callers=((3, 2),), workers=(3,)),
    Case(callers=((2, 2, 2),), workers=(4,)),
    # Several late workers.
    Case(callers=((2, 2),), workers=(2, 1)),
    Case(callers=((2,),), workers=(1, 1, 1)),
    # A single task is done by the caller alone.
    Case(callers=((2, 1, 2),), workers=(2,)),
    Case(callers=((2, 3),), workers=(2,), failing=frozenset({1})),
    # One caller at a time.
    Case(callers=((2,), (2,)), workers=(1,)),
    Case(callers=((1,), (2,), (1,)), workers=()),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_task_is_done_once_before_its_call_returns(case: Case) -> None:
    explored = explore(calls_of(case, PROTOCOL), check_end)
    assert explored.num_states > 1000
    assert explored.num_ends > 1


# --- what the search must find: protocols with one thing wrong


def count_up(pool: int, function: int, arguments: int, num_tasks: int) -> int:
    """Two words decide: a ticket from a counter that is used up passes a later job's limit."""
    atomic_store(pool + NUM_LEFT, CLOSED)
    atomic_store(pool + NUM_DONE, 0)
    atomic_store(pool + FUNCTION, function)
    atomic_store(pool + ARGUMENTS, arguments)
    atomic_store(pool + LIMIT, num_tasks)
    atomic_store(pool + NUM_LEFT, 0)
    _take_part(pool)
    while atomic_load(pool + NUM_DONE) < num_tasks:
        pass
    return 0


def take_part_counting_up(pool: int) -> None:
    while True:
        task = fetch_add(pool + NUM_LEFT, 1)
        if task >= atomic_load(pool + LIMIT):
            return
        call_kernel(atomic_load(pool + FUNCTION), atomic_load(pool + ARGUMENTS), task)
        fetch_add(pool + NUM_DONE, 1)


def open_too_early(pool: int, function: int, arguments: int, num_tasks: int) -> int:
    atomic_store(pool + NUM_DONE, 0)
    atomic_store(pool + NUM_LEFT, num_tasks)
    store_i64(pool + FUNCTION, function)
    store_i64(pool + ARGUMENTS, arguments)
    store_i64(pool + NUM_TASKS, num_tasks)
    _take_part(pool)
    while atomic_load(pool + NUM_DONE) < num_tasks:
        pass
    return 0


def reset_too_late(pool: int, function: int, arguments: int, num_tasks: int) -> int:
    store_i64(pool + FUNCTION, function)
    store_i64(pool + ARGUMENTS, arguments)
    store_i64(pool + NUM_TASKS, num_tasks)
    atomic_store(pool + NUM_LEFT, num_tasks)
    atomic_store(pool + NUM_DONE, 0)
    _take_part(pool)
    while atomic_load(pool + NUM_DONE) < num_tasks:
        pass
    return 0


def wait_for_nothing(pool: int, function: int, arguments: int, num_tasks: int) -> int:
    store_i64(pool + FUNCTION, function)
    store_i64(pool + ARGUMENTS, arguments)
    store_i64(pool + NUM_TASKS, num_tasks)
    atomic_store(pool + NUM_LEFT, num_tasks)
    _take_part(pool)
    return 0


def take_part_by_two_steps(pool: int) -> None:
    """The count is read and written, and another thread's task is lost in between or done twice."""
    while True:
        num_left = atomic_load(pool + NUM_LEFT)
        atomic_store(pool + NUM_LEFT, num_left - 1)
        if num_left <= 0:
            return
        call_kernel(load_i64(pool + FUNCTION), load_i64(pool + ARGUMENTS), num_left - 1)
        fetch_add(pool + NUM_DONE, 1)


def let_everybody_in(
    pool: int, function: int, arguments: int, num_tasks: int, num_threads: int
) -> int:
    return _run_shared(pool, function, arguments, num_tasks)


_take_part = thread_pool._take_part
_run_shared = thread_pool._run_shared

ONE_CALLER = Case(callers=((2, 3),), workers=(3,))
TWO_CALLERS = Case(callers=((2,), (2,)), workers=())


@pytest.mark.parametrize(
    ("case", "replaced", "fault"),
    [
        (
            ONE_CALLER,
            {"_run_shared": count_up, "_take_part": take_part_counting_up},
            r"data race at \('count', 2",
        ),
        (ONE_CALLER, {"_run_shared": open_too_early}, f"data race at {POOL + NUM_TASKS}"),
        (ONE_CALLER, {"_run_shared": reset_too_late}, "waits forever"),
        (ONE_CALLER, {"_run_shared": wait_for_nothing}, "0 times 2 of job 2"),
        (ONE_CALLER, {"_take_part": take_part_by_two_steps}, r"data race at \('count', 2"),
        (TWO_CALLERS, {"_run": let_everybody_in}, r"data race at \('count', 11"),
    ],
    ids=lambda value: "-".join(f.__name__ for f in value.values()) if type(value) is dict else "",
)
def test_the_search_finds_injected_errors(case: Case, replaced: dict[str, Any], fault: str) -> None:
    with pytest.raises(FaultError, match=fault):
        explore(calls_of(case, {**PROTOCOL, **replaced}), check_end)
