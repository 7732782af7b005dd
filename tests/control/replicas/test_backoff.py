from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.control.replicas.backoff import (
    Backoff,
    Crash,
    Crashes,
    add_crash,
    crash_of,
    is_loop,
    is_over,
    next_start_at,
    wait_s,
)
from headrace.control.resources import Replica, ReplicaState

START = datetime(2026, 1, 1, tzinfo=UTC)
BACKOFF = Backoff()


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def crash(created_s: float, at_s: float, ready_s: float | None = None) -> Crash:
    return Crash(at(created_s), None if ready_s is None else at(ready_s), at(at_s), "exit 1")


def test_the_first_crash_waits_for_nothing_and_later_ones_double_up_to_five_minutes() -> None:
    waits = [wait_s(num, BACKOFF) for num in range(1, 13)]
    assert waits == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert wait_s(10_000, BACKOFF) == 300


@pytest.mark.parametrize(
    ("state", "ready_since"), [(ReplicaState.READY, at(5)), (ReplicaState.STARTING, None)]
)
def test_only_what_was_ready_has_a_time_since_when(
    state: ReplicaState, ready_since: datetime | None
) -> None:
    replica = Replica("svc-1-a", "svc", 1, state, at(0), at(5))
    assert crash_of(replica, "exit 1", at(9)) == Crash(at(0), ready_since, at(9), "exit 1")


def test_a_replica_that_was_started_at_the_moment_of_a_crash_took_the_place() -> None:
    crashes = Crashes(1, at(10), "exit 1")
    assert add_crash(crashes, crash(10, 12), BACKOFF) == Crashes(2, at(12), "exit 1")
    assert is_over(crashes, at(10), at(11), at(71), BACKOFF)


def test_replicas_that_go_down_together_are_one_crash() -> None:
    crashes = None
    for index in range(5):
        crashes = add_crash(crashes, crash(0, 10 + index), BACKOFF)
    assert crashes == Crashes(1, at(10), "exit 1")


def test_crashes_of_replicas_that_took_anothers_place_count_up_to_a_loop() -> None:
    crashes = None
    for index in range(3):
        assert not is_loop(crashes, BACKOFF)
        crashes = add_crash(crashes, crash(10 * index + 1, 10 * index + 5), BACKOFF)
    assert is_loop(crashes, BACKOFF)
    assert crashes is not None
    assert next_start_at(crashes, BACKOFF) == at(25 + 2)


def test_a_crash_after_a_good_run_is_the_first_one_again() -> None:
    crashes = Crashes(7, at(100), "exit 1")
    assert add_crash(crashes, crash(101, 165, ready_s=105), BACKOFF).num_in_a_row == 1
    assert add_crash(crashes, crash(101, 164, ready_s=105), BACKOFF).num_in_a_row == 8


def test_only_a_replica_that_was_started_since_shows_that_crashes_are_over() -> None:
    crashes = Crashes(3, at(100), "exit 1")
    assert is_over(crashes, at(101), at(110), at(170), BACKOFF)
    assert not is_over(crashes, at(101), at(110), at(169), BACKOFF)
    assert not is_over(crashes, at(101), None, at(1000), BACKOFF)
    assert not is_over(crashes, at(50), at(60), at(1000), BACKOFF)


@given(st.lists(st.floats(0.1, 59), min_size=1, max_size=30))
def test_starting_again_and_again_never_starts_more_often_than_the_waits_allow(
    lives_s: list[float],
) -> None:
    crashes, now = None, START
    for num, life_s in enumerate(lives_s, 1):
        started = now if crashes is None else max(now, next_start_at(crashes, BACKOFF))
        started += timedelta(milliseconds=1)
        now = started + timedelta(seconds=life_s)
        crashes = add_crash(crashes, Crash(started, started, now, "exit 1"), BACKOFF)
        assert crashes.num_in_a_row == num
        assert next_start_at(crashes, BACKOFF) - now == timedelta(seconds=wait_s(num, BACKOFF))
