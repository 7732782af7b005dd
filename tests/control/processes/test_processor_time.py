import os

import psutil

from headrace.control.processes.processor_time import processor_times, spent_between


def test_new_processes_count_whole_and_gone_ones_not() -> None:
    assert spent_between({1: 2.0, 2: 5.0}, {1: 2.5, 3: 0.25}) == 0.75


def test_a_recycled_pid_takes_nothing_away() -> None:
    assert spent_between({1: 9.0, 2: 1.0}, {1: 0.5, 2: 1.5}) == 0.5


def test_our_own_time_grows_with_work() -> None:
    ours = psutil.Process()
    before = processor_times([ours])
    while spent_between(before, processor_times([ours])) < 0.05:
        sum(range(10_000))
    assert set(before) == {os.getpid()}
