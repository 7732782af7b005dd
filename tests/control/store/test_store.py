"""All or nothing, one writer at a time, and readers who see one moment."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import UTC, datetime

import pytest
from sqlalchemy import create_engine, make_url, text

from headrace.control.errors import ConflictError, StoreError
from headrace.control.resources import Event, Replica, ReplicaState, Service
from headrace.control.store.store import Store

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TIMEOUT_S = 60


def names(store: Store) -> list[str]:
    with store.read() as queries:
        return [service.name for service in queries.services()]


@pytest.fixture
def other(store: Store, database_url: str) -> Iterator[Store]:
    """The same database, as another process would have it."""
    opened = Store.open(database_url)
    yield opened
    opened.close()


def test_an_error_leaves_nothing(store: Store) -> None:
    with suppress(KeyError), store.begin() as tx:
        tx.add_service(Service("a", NOW))
        tx.add_event(Event(NOW, "service a", "created", "Asked for.", service="a"))
        raise KeyError
    with store.read() as queries:
        assert queries.services() == []
        assert queries.events() == []
    with store.begin() as tx:  # and nothing stands in the way of the next one
        tx.add_service(Service("b", NOW))
    assert names(store) == ["b"]


def _write_and_hang(url: str, ready: object) -> None:
    store = Store.open(url)
    with store.begin() as tx:
        tx.add_service(Service("half", NOW))
        ready.set()  # type: ignore[attr-defined]
        signal.pause()


def test_a_process_killed_in_the_middle_leaves_nothing(store: Store, database_url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    process = spawn.Process(target=_write_and_hang, args=(database_url, ready))
    process.start()
    try:
        assert ready.wait(TIMEOUT_S)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.join(TIMEOUT_S)
    with store.begin() as tx:  # its lock went with it
        tx.add_service(Service("whole", NOW))
    assert names(store) == ["whole"]


def test_readers_see_one_moment_and_never_wait(store: Store, other: Store) -> None:
    with store.read() as queries:
        assert queries.services() == []
        with other.begin() as tx:
            tx.add_service(Service("a", NOW))
            assert names(store) == []  # not before it is committed
        assert queries.services() == []
    assert names(store) == ["a"]


@pytest.mark.parametrize("is_one_process", [True, False])
def test_one_writer_waits_for_the_other(store: Store, other: Store, is_one_process: bool) -> None:
    second = store if is_one_process else other
    order: list[str] = []
    began = threading.Event()

    def write_second() -> None:
        began.set()
        with second.begin() as tx:
            order.append("second")
            assert tx.service("first") is not None
            tx.add_service(Service("second", NOW))

    with ThreadPoolExecutor(1) as pool:
        with store.begin() as tx:
            future = pool.submit(write_second)
            assert began.wait(TIMEOUT_S)
            tx.add_service(Service("first", NOW))
            order.append("first")
        future.result(TIMEOUT_S)
    assert order == ["first", "second"]
    assert names(store) == ["first", "second"]


def test_a_servers_defaults_change_nothing(postgresql_database_url: str) -> None:
    """A writer that waited sees what was committed meanwhile, whatever isolation is usual there."""
    engine = create_engine(make_url(postgresql_database_url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        setting = "default_transaction_isolation = 'serializable'"
        name = make_url(postgresql_database_url).database
        connection.execute(text(f"ALTER DATABASE {name} SET {setting}"))
    engine.dispose()
    stores = [Store.open(postgresql_database_url), Store.open(postgresql_database_url)]

    def add(index: int) -> None:
        with stores[index % 2].begin() as tx:
            tx.next_route_version()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(40)))
    with stores[0].read() as queries:
        assert queries.route_version() == 40
    for store in stores:
        store.close()


def test_of_two_who_expect_the_same_state_one_wins(store: Store, other: Store) -> None:
    num_rounds = 20
    with store.begin() as tx:
        tx.add_service(Service("a", NOW))
        tx.add_revision("a", {}, 1, NOW)
        for index in range(num_rounds):
            tx.add_replica(Replica(f"a-1-{index}", "a", 1, ReplicaState.READY, NOW, NOW))
    barrier = threading.Barrier(2)

    def change(using: Store, index: int, state: ReplicaState) -> bool:
        barrier.wait(TIMEOUT_S)
        with using.begin() as tx:
            return tx.change_replica(
                f"a-1-{index}", ReplicaState.READY, state, NOW, cause=state.value
            )

    with ThreadPoolExecutor(2) as pool:
        for index in range(num_rounds):
            drained = pool.submit(change, store, index, ReplicaState.DRAINING)
            failed = pool.submit(change, other, index, ReplicaState.FAILED)
            winners = [
                state
                for state, future in (
                    (ReplicaState.DRAINING, drained),
                    (ReplicaState.FAILED, failed),
                )
                if future.result(TIMEOUT_S)
            ]
            assert len(winners) == 1
            with store.read() as queries:
                replica = queries.replica(f"a-1-{index}")
            assert replica is not None
            assert [replica.state] == winners
            assert replica.cause == winners[0].value


def test_numbers_are_given_once_however_many_ask(store: Store, other: Store) -> None:
    with store.begin() as tx:
        tx.add_service(Service("a", NOW))

    def add(index: int) -> int:
        with (store if index % 2 else other).begin() as tx:
            return tx.add_revision("a", {}, 1, NOW).number

    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(add, range(40)))
    assert sorted(numbers) == list(range(1, 41))


def test_whoever_follows_events_misses_none(store: Store, other: Store) -> None:
    """Ids come in the order of commits: none appears below one that was seen."""
    num_writers, num_each = 4, 15
    finished = threading.Event()
    seen: list[int] = []

    def write(index: int) -> None:
        for _ in range(num_each):
            with (store if index % 2 else other).begin() as tx:
                tx.add_event(Event(NOW, f"writer {index}", "wrote", "It had to."))

    def follow() -> None:
        is_last = False
        while not is_last:
            is_last = finished.is_set()
            with store.read() as queries:
                events = queries.events(after_id=seen[-1] if seen else 0, limit=1000)
            seen.extend(event.event_id for event in events if event.event_id is not None)

    with ThreadPoolExecutor(num_writers + 1) as pool:
        following = pool.submit(follow)
        for future in [pool.submit(write, index) for index in range(num_writers)]:
            future.result(TIMEOUT_S)
        finished.set()
        following.result(TIMEOUT_S)
    with store.read() as queries:
        everything = [event.event_id for event in queries.events(limit=1000)]
    assert seen == everything
    assert len(seen) == num_writers * num_each


def test_a_transaction_inside_a_transaction_is_an_error(store: Store) -> None:
    with (
        pytest.raises(RuntimeError, match="nested write transaction"),
        store.begin(),
        store.begin(),
    ):
        pass
    assert names(store) == []


def test_a_reader_cannot_write(store: Store) -> None:
    with store.read() as queries:
        assert not hasattr(queries, "add_service")


def test_what_contradicts_the_store_is_refused(store: Store) -> None:
    replica = Replica("a-1-x", "a", 1, ReplicaState.PENDING, NOW, NOW)
    with pytest.raises(ConflictError, match="nothing was changed"), store.begin() as tx:
        tx.add_replica(replica)


def test_many_threads_at_once_have_connections_enough(store: Store) -> None:
    num_threads = 24
    barrier = threading.Barrier(num_threads)

    def read() -> int:
        with ExitStack() as stack:
            queries = stack.enter_context(store.read())
            barrier.wait(TIMEOUT_S)
            return len(queries.services())

    with ThreadPoolExecutor(num_threads) as pool:
        futures = [pool.submit(read) for _ in range(num_threads)]
        assert [future.result(TIMEOUT_S) for future in futures] == [0] * num_threads


def test_a_store_that_is_gone_says_so(tmp_path: object) -> None:
    path = f"{tmp_path}/state.db"
    with open(path, "wb") as file:
        file.write(b"this is no database at all, and long enough to tell" * 100)
    with pytest.raises(StoreError, match="damaged, or not a database"):
        Store.open(f"sqlite:///{path}")


def test_its_files_are_closed_to_others(tmp_path: object) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/home/state.db")
    with store.begin() as tx:
        tx.add_service(Service("a", NOW))
    folder = f"{tmp_path}/home"
    modes = {name: os.stat(f"{folder}/{name}").st_mode & 0o077 for name in os.listdir(folder)}
    store.close()
    assert "state.db-wal" in modes
    assert set(modes.values()) == {0}
