import gc
import threading
import weakref
from collections.abc import Callable

import pytest

from headrace.engine.background_thread import BackgroundThread

DEADLINE_S = 20.0


def named(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def waiting_for(event: threading.Event) -> Callable[[], None]:
    def work() -> None:
        assert event.wait(DEADLINE_S)

    return work


def test_work_runs_beside_the_caller_on_one_thread() -> None:
    background = BackgroundThread("tested")
    threads = []
    for _ in range(3):
        may_end = threading.Event()
        background.start(waiting_for(may_end))
        threads += named("tested")
        may_end.set()  # the caller goes on before the work has ended
        background.join()
    assert len(threads) == 3
    assert len(set(threads)) == 1


def test_join_raises_the_error_once() -> None:
    background = BackgroundThread("tested")
    background.join()  # nothing was started
    background.start(lambda: [][1])
    with pytest.raises(IndexError):
        background.join()
    background.join()
    done: list[int] = []
    background.start(lambda: done.append(1))
    background.join()
    assert done == [1]


def test_start_waits_for_the_work_before() -> None:
    background = BackgroundThread("tested")
    done: list[int] = []
    for number in range(50):
        background.start(lambda number=number: done.append(number))  # type: ignore[misc]
    background.join()
    assert done == list(range(50))


def test_the_thread_ends_with_its_owner() -> None:
    background = BackgroundThread("short-lived")
    background.start(lambda: None)
    background.join()
    (thread,) = named("short-lived")
    alive = weakref.ref(background)
    del background
    gc.collect()
    assert alive() is None
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
