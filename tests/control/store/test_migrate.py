"""The schema comes whole, once, and is what the tables say."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from headrace.control.errors import StoreError
from headrace.control.store import migrate
from headrace.control.store.database import open_engine
from headrace.control.store.store import Store
from headrace.control.store.tables import metadata


def test_the_migrations_lead_to_the_tables(database_url: str) -> None:
    Store.open(database_url).close()
    engine = open_engine(database_url)
    try:
        with engine.connect() as connection:
            options = {"compare_type": True, "compare_server_default": True}
            context = MigrationContext.configure(connection, opts=options)
            assert compare_metadata(context, metadata) == []
            migrated = _shape(connection)
        with engine.begin() as connection:
            connection.execute(text("DROP TABLE alembic_version"))
            metadata.drop_all(connection)
            metadata.create_all(connection)
            assert migrated == _shape(connection)
    finally:
        engine.dispose()


def _shape(connection: object) -> dict[str, object]:
    """What comparing the metadata passes over, too: keys, cascades and autoincrement."""
    found = inspect(connection)
    assert found is not None
    return {
        table: {
            "primary key": found.get_pk_constraint(table),
            "foreign keys": found.get_foreign_keys(table),
            "unique": found.get_unique_constraints(table),
            "indexes": sorted(str(index) for index in found.get_indexes(table)),
            "columns": [
                {key: str(value) for key, value in column.items()}
                for column in found.get_columns(table)
            ],
        }
        for table in sorted(metadata.tables)
    }


def test_what_the_first_version_wrote_is_all_there_after_the_others(database_url: str) -> None:
    engine = open_engine(database_url)
    with engine.connect() as connection:
        config = migrate._make_config()
        config.attributes[migrate.CONNECTION] = connection
        command.upgrade(config, "0001")
        for statement in (
            "INSERT INTO services VALUES ('svc', '2026-01-01 00:00:00', 1)",
            "INSERT INTO revisions VALUES ('svc', 1, '{}', 'active', 1, '2026-01-01 00:00:00')",
            "INSERT INTO replicas (replica_id, service, revision, state, created_at, changed_at,"
            " host_ports) VALUES ('r', 'svc', 1, 'failed', '2026-01-01 00:00:00',"
            " '2026-01-01 00:00:00', '{}')",
            "INSERT INTO runs (run_id, name, spec, state, created_at, changed_at, host_ports)"
            " VALUES ('1', 'job', '{}', 'failed', '2026-01-01 00:00:00', '2026-01-01 00:00:00',"
            " '{}')",
            "INSERT INTO events (at, subject, what, why, service) VALUES"
            " ('2026-01-01 00:00:00', 'service svc', 'created', '', 'svc')",
        ):
            connection.execute(text(statement))
        connection.commit()
    engine.dispose()
    store = Store.open(database_url)
    try:
        with store.read() as queries:
            assert [one.number for one in queries.revisions("svc")] == [1]
            assert [one.replica_id for one in queries.last_gone("svc", 1, 3)] == ["r"]
            assert [run.run_id for run in queries.runs(limit=3)] == ["1"]
            assert [event.what for event in queries.events(service="svc")] == ["created"]
    finally:
        store.close()


def test_many_may_open_a_new_database_at_once(database_url: str) -> None:
    num_openers = 6
    barrier = threading.Barrier(num_openers)

    def open_it() -> Store:
        barrier.wait(60)
        return Store.open(database_url)

    with ThreadPoolExecutor(num_openers) as pool:
        opened = [future.result() for future in [pool.submit(open_it) for _ in range(num_openers)]]
    for store in opened:
        with store.read() as queries:
            assert queries.services() == []
        store.close()


def test_a_migration_that_fails_leaves_nothing(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alembic.operations import Operations

    create_table: Callable[..., object] = Operations.create_table

    def fail_at_events(self: Operations, name: str, *args: object, **options: object) -> object:
        if name == "events":
            raise OSError("pulled the plug")
        return create_table(self, name, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr("alembic.op.create_table", _through_proxy(fail_at_events))
        with pytest.raises(OSError, match="pulled the plug"):
            Store.open(database_url)
    engine = open_engine(database_url)
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == []
    engine.dispose()
    Store.open(database_url).close()


def _through_proxy(create_table: Callable[..., object]) -> Callable[..., object]:
    def call(name: str, *args: object, **options: object) -> object:
        from alembic import op

        return create_table(op._proxy, name, *args, **options)  # type: ignore[attr-defined]

    return call


def test_a_newer_schema_is_refused(database_url: str) -> None:
    Store.open(database_url).close()
    engine = open_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StoreError, match="newer version of Headrace"):
        Store.open(database_url)
