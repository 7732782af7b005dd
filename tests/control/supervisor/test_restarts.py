from itertools import pairwise

from headrace.control.supervisor.restarts import Restarts

LOOK_S = 0.2


def starts_within(duration_s: float, life_s: float) -> list[float]:
    """The times at which a process is started that runs for ``life_s`` each time."""
    restarts, starts, now_s, dies_s = Restarts(), [], 100.0, 100.0
    until_s = now_s + duration_s
    while now_s < until_s:
        if now_s < dies_s:
            restarts.note_running(now_s)
        elif restarts.is_due(now_s):
            restarts.note_start(now_s)
            starts.append(now_s - 100.0)
            dies_s = now_s + life_s
        now_s += LOOK_S
    return starts


def test_an_immediate_exit_backs_off_for_good() -> None:
    assert len(starts_within(60, 0.0)) <= 10
    assert len(starts_within(3600, 0.0)) <= 10 + 3600 / 30


def test_a_process_that_ran_well_is_restarted_at_once() -> None:
    starts = starts_within(600, 60.0)
    assert max(b - a for a, b in pairwise(starts)) <= 60 + 2 * LOOK_S


def test_an_early_exit_backs_off() -> None:
    assert len(starts_within(3600, 10.0)) <= 10 + 3600 / 30
