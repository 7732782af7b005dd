"""The search finds failing interleavings, and no others."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from headrace.testing.interleavings import Explored, FaultError, Thread, as_threads, explore

WORD, FLAG = 8, 16


def fetch_add(address: int, value: int) -> int:
    raise NotImplementedError


atomic_load = atomic_store = load_i64 = store_i64 = sched_yield = fetch_add


def count() -> None:
    fetch_add(WORD, 1)


def count_by_two_steps() -> None:
    value = atomic_load(WORD)
    atomic_store(WORD, value + 1)


def count_without_atomics() -> None:
    store_i64(WORD, load_i64(WORD) + 1)


def write_and_tell() -> None:
    store_i64(WORD, 2)
    atomic_store(FLAG, 1)


def tell_and_write() -> None:
    atomic_store(FLAG, 1)
    store_i64(WORD, 2)


def read_when_told() -> None:
    spins = 0
    while atomic_load(FLAG) == 0:
        spins += 1
        sched_yield()
    assert load_i64(WORD) == 2, "read too early"


def search(*functions: Callable[[], None], end: int = 2) -> Explored:
    named = {f"thread{index}": function for index, function in enumerate(functions)}

    def call_task() -> Thread:
        raise NotImplementedError

    threads = as_threads(named, call_task, globals())

    def check_end(memory: Mapping[Any, int]) -> None:
        assert memory[WORD] == end, f"ends with {memory[WORD]}"

    return explore(lambda: [thread() for thread in threads.values()], check_end)


def test_all_orders_are_tried() -> None:
    assert search(count, count) == Explored(num_states=4, num_ends=1)
    assert search(count, count, count, end=3) == Explored(num_states=8, num_ends=1)


def test_a_correct_publication_passes() -> None:
    assert search(write_and_tell, read_when_told).num_ends == 1


def test_a_lost_update_is_found() -> None:
    with pytest.raises(FaultError, match="ends with 1"):
        search(count_by_two_steps, count_by_two_steps)


@pytest.mark.parametrize(
    "functions",
    [
        (count_without_atomics, count_without_atomics),
        (count_without_atomics, count),
        (tell_and_write, read_when_told),
    ],
)
def test_a_data_race_is_found(functions: tuple[Callable[[], None], ...]) -> None:
    with pytest.raises(FaultError, match="data race at 8"):
        search(*functions)


def test_a_deadlock_is_found() -> None:
    with pytest.raises(FaultError, match="waits forever"):
        search(read_when_told)


def test_a_failure_lists_its_steps() -> None:
    with pytest.raises(FaultError, match=r"(?s)0: \('load', 8\).*1: \('store', 8, 1\)"):
        search(count_by_two_steps, count_by_two_steps)


def test_an_unsupported_call_is_refused() -> None:
    def compare_and_swap() -> None:
        undefined(WORD, 0, 1)  # type: ignore[name-defined] # noqa: F821

    with pytest.raises(AssertionError, match="undefined is called"):
        search(compare_and_swap)
