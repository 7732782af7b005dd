from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from headrace.control.retention.policy import LogLimit, RetentionPolicy, RetentionRule, expired

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Thing:
    number: int
    at: datetime


keeps = st.builds(
    lambda num_always, more, hours: RetentionRule(
        num_always, num_always + more, timedelta(hours=hours)
    ),
    st.integers(0, 5),
    st.integers(0, 10),
    st.integers(0, 20),
)
# Not in the order of their times: a clock may have been set back.
histories = st.lists(st.integers(-5, 40), max_size=30).map(
    lambda ages: [Thing(number, NOW - timedelta(hours=age)) for number, age in enumerate(ages)]
)


@given(histories, keeps)
def test_the_newest_stay_and_what_goes_is_old_or_beyond_the_limit(
    things: list[Thing], keep: RetentionRule
) -> None:
    going = expired(things, len(things), NOW, keep)
    newest_first = things[::-1]
    assert not set(going) & set(newest_first[: keep.num_always])
    for thing in going:
        assert NOW - thing.at > keep.age or thing not in newest_first[: keep.max_num]
    kept = [thing for thing in things if thing not in going]
    assert len(kept) <= keep.max_num
    for thing in kept:
        assert NOW - thing.at <= keep.age or thing in newest_first[: keep.num_always]


@given(histories, keeps, st.integers(1, 7))
def test_small_batches_come_to_the_same_and_then_to_rest(
    things: list[Thing], keep: RetentionRule, batch: int
) -> None:
    things = sorted(things, key=lambda thing: thing.at)
    at_once = expired(things, len(things), NOW, keep)
    left = things
    gone: list[Thing] = []
    while going := expired(left[:batch], len(left), NOW, keep):
        gone += going
        left = [thing for thing in left if thing not in going]
    assert gone == at_once
    assert expired(left, len(left), NOW, keep) == []


def test_the_defaults_leave_time_to_look() -> None:
    policy = RetentionPolicy()
    for keep in (policy.replicas, policy.events):
        assert 0 < keep.num_always < keep.max_num
        assert keep.age >= timedelta(days=1)
    for bound in (policy.replica_log, policy.run_log):
        assert bound.num_head_bytes + bound.num_tail_bytes < bound.max_num_bytes


def test_a_tail_is_half_of_what_may_be() -> None:
    assert LogLimit(1000).num_tail_bytes == 500
