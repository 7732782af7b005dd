"""Samples in a real store: each in its place, whatever restarts and clocks do, and bounded."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.control.history.block import COARSE, FINE, Resolution
from headrace.control.history.revision_sample import RevisionSample
from headrace.control.history.ring import Ring, TimedSample
from headrace.control.history.series import Period
from headrace.control.operations.history import MAX_NUM_REVISIONS, read_history
from headrace.control.resources import RevisionKey, RevisionPhase, Service
from headrace.control.store.store import Store

BEGIN = 1_767_225_600  # a multiple of every block
NOW = datetime.fromtimestamp(BEGIN, UTC)
KEY = RevisionKey("svc", 1)


def add_service(store: Store, num_revisions: int = 1, at: datetime = NOW) -> None:
    with store.begin() as tx:
        tx.add_service(Service("svc", at))
        for _ in range(num_revisions):
            tx.add_revision("svc", {}, 1, at)


def write(
    ring: Ring,
    at_s: int,
    value: float,
    keys: Iterable[RevisionKey] = (KEY,),
    resolution: Resolution = FINE,
    created_at: datetime = NOW,
) -> None:
    """At the end of the step that begins at ``at_s``."""
    keys = list(keys)
    ring.write(
        [TimedSample(key, resolution, at_s, RevisionSample(requests_per_s=value)) for key in keys],
        dict.fromkeys(keys, created_at),
        datetime.fromtimestamp(at_s + resolution.step_s, UTC),
    )


def rates(store: Store, ends_at_s: int, period: Period = Period.HOUR) -> dict[int, float]:
    """By time, without gaps; of revision 1."""
    history = read_history(store, "svc", period, datetime.fromtimestamp(ends_at_s, UTC), 1)
    values = history.revisions[1]["requests_per_s"]
    pairs = zip(history.window.times(), values, strict=True)
    return {time: value for time, value in pairs if value is not None}


def num_blocks(store: Store) -> int:
    with store.read() as queries:
        return queries.history.num_blocks()


def test_samples_are_read_where_they_were_written(store: Store) -> None:
    add_service(store)
    ring = Ring(store)
    for index in range(45):  # three blocks
        write(ring, BEGIN + index * 15, float(index))
    assert rates(store, BEGIN + 3600) == {BEGIN + n * 15: float(n) for n in range(45)}
    assert num_blocks(store) == 3


def test_a_block_that_was_begun_before_a_restart_is_continued(store: Store) -> None:
    add_service(store)
    write(Ring(store), BEGIN, 1.0)
    write(Ring(store), BEGIN + 15, 2.0)
    assert rates(store, BEGIN + 3600) == {BEGIN: 1.0, BEGIN + 15: 2.0}
    assert num_blocks(store) == 1


def test_both_resolutions_have_their_own_ring(store: Store) -> None:
    add_service(store)
    ring = Ring(store)
    write(ring, BEGIN, 1.0)
    write(ring, BEGIN, 2.0, resolution=COARSE)
    assert rates(store, BEGIN + 3600) == {BEGIN: 1.0}
    assert rates(store, BEGIN + 3600, Period.DAY) == {BEGIN: 2.0}


@dataclass(frozen=True)
class Write:
    step: int
    value: float
    restarts: bool


writes = st.lists(
    st.builds(Write, st.integers(0, 70), st.integers(0, 9).map(float), restarts=st.booleans()),
    max_size=25,
)


@given(writes)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_last_write_of_each_step_is_what_is_read(
    sqlite_template: Path, tmp_path: Path, written: list[Write]
) -> None:
    """Whatever the order: the clock may step back."""
    path = tmp_path / "state.db"
    path.write_bytes(sqlite_template.read_bytes())
    store = Store.open(f"sqlite:///{path}")
    try:
        add_service(store)
        ring, expected = Ring(store), {}
        for one in written:
            if one.restarts:
                ring = Ring(store)
            write(ring, BEGIN + one.step * 15, one.value)
            expected[BEGIN + one.step * 15] = one.value
        assert rates(store, BEGIN + 3600) == expected
    finally:
        store.close()
        for left in tmp_path.glob("state.db*"):
            left.unlink()


def test_samples_of_deleted_and_recreated_revisions_are_left_out(store: Store) -> None:
    add_service(store)
    ring = Ring(store)
    write(ring, BEGIN, 1.0)
    with store.begin() as tx:
        tx.remove_service("svc")
    assert num_blocks(store) == 0
    write(ring, BEGIN + 15, 2.0)
    later = NOW + timedelta(seconds=20)
    add_service(store, at=later)
    write(ring, BEGIN + 15, 3.0)  # of the former revision 1
    assert num_blocks(store) == 0
    ring.drop(KEY)
    write(ring, BEGIN + 30, 4.0, created_at=later)
    assert rates(store, BEGIN + 3600) == {BEGIN + 30: 4.0}


def test_a_terminated_revision_keeps_its_history(store: Store) -> None:
    add_service(store)
    ring = Ring(store)
    write(ring, BEGIN, 1.0)
    with store.begin() as tx:
        tx.set_phase("svc", 1, RevisionPhase.TERMINATED)
    write(ring, BEGIN, 2.0, resolution=COARSE)
    assert rates(store, BEGIN + 3600) == {BEGIN: 1.0}
    assert rates(store, BEGIN + 3600, Period.DAY) == {BEGIN: 2.0}


@pytest.mark.parametrize("resolution", [FINE, COARSE])
def test_old_samples_are_removed_and_no_younger_ones(store: Store, resolution: Resolution) -> None:
    add_service(store)
    ring = Ring(store)
    num_kept = resolution.age_s // resolution.block_s + 1
    for index in range(num_kept + 15):
        write(ring, BEGIN + index * resolution.block_s, 1.0, resolution=resolution)
    assert num_kept <= num_blocks(store) <= num_kept + 2
    last = BEGIN + (num_kept + 14) * resolution.block_s
    with store.read() as queries:
        [oldest] = queries.history.oldest_times(resolution.step_s, 1)
    assert last - resolution.age_s - 2 * resolution.block_s <= oldest.begins_at
    assert oldest.begins_at <= last - resolution.age_s


def test_beyond_the_maximum_the_oldest_blocks_go_first(store: Store) -> None:
    add_service(store, 4)
    keys = [RevisionKey("svc", number) for number in (1, 2, 3, 4)]
    ring = Ring(store, max_num_blocks=20)
    for index in range(30):
        write(ring, BEGIN + index * FINE.block_s, 1.0, keys)
        assert num_blocks(store) <= 20
    assert num_blocks(store) == 20
    with store.read() as queries:
        newest = queries.history.blocks_at(FINE.step_s, BEGIN + 29 * FINE.block_s)
    assert [block.key for block in newest] == keys


def test_the_newest_revisions_with_samples_are_read(store: Store) -> None:
    add_service(store, MAX_NUM_REVISIONS + 5)
    keys = [RevisionKey("svc", number) for number in range(1, MAX_NUM_REVISIONS + 4)]
    write(Ring(store), BEGIN, 1.0, keys)
    history = read_history(store, "svc", Period.HOUR, datetime.fromtimestamp(BEGIN + 60, UTC))
    assert list(history.revisions) == list(range(4, MAX_NUM_REVISIONS + 4))
