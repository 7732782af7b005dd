"""The store: opened by URL, used in transactions."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout
from sqlalchemy import URL, Connection, Engine, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError, StatementError

from headrace.control.errors import ConflictError, StoreError
from headrace.control.store.database import (
    BUSY_TIMEOUT_S,
    describe,
    open_engine,
    sqlite_path,
    store_error,
)
from headrace.control.store.migrate import is_current, migrate
from headrace.control.store.queries import Queries
from headrace.control.store.writes import Transaction

_WRITER_KEY = 0x48656164_72616365
"""Key of the writers' advisory lock on PostgreSQL: "Headrace" in ASCII."""


class Store:
    """One database, for any number of threads and processes.

    There is one writer at a time: SQLite allows no more, on PostgreSQL a lock ensures it. So what a
    writer has read stays valid until it commits, and events get ids in the order of commits.
    Readers never wait, and see a consistent snapshot.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._writer = threading.Lock()
        """Held by the writing thread: fairer and faster than SQLite's own waiting."""
        self._writer_thread: int | None = None

    @classmethod
    def open(cls, url: str) -> "Store":
        """Create the database if there is none, and migrate it to the latest schema.

        ``sqlite:///PATH`` or ``postgresql://...``. Raises StoreError if it cannot be used.
        """
        store = cls(open_engine(url))
        try:
            store._prepare()
        except BaseException:
            store.close()
            raise
        return store

    def __repr__(self) -> str:
        return f"<Store of the {describe(self.url)}>"

    @property
    def url(self) -> URL:
        """May contain a password: use `describe` for messages."""
        return self._engine.url

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Queries]:
        """A read transaction. Never waits for a writer."""
        with self._errors(), self._engine.connect() as connection:
            self._begin_reading(connection)
            yield Queries(connection)

    @contextmanager
    def begin(self) -> Iterator[Transaction]:
        """A write transaction; committed at the end of the block, rolled back on an error.

        Keep it short: no process, network or file access inside. Raises StoreError.
        """
        with self._alone(), self._errors(), self._engine.connect() as connection:
            self._begin_writing(connection)
            yield Transaction(connection)
            connection.commit()

    def _prepare(self) -> None:
        path = sqlite_path(self.url)
        with self._errors():
            if path is None:
                with self._engine.connect() as connection:
                    if is_current(connection):
                        return
                self._migrate()
                return
            # Concurrent switches of a new file to WAL would fail instead of waiting.
            try:
                with FileLock(f"{path}.lock", timeout=BUSY_TIMEOUT_S, mode=0o600):
                    self._use_wal()
                    self._migrate()
            except Timeout:
                raise StoreError(
                    f"The {describe(self.url)} is being opened by another process that hangs. "
                    "Check that process, or end it."
                ) from None

    def _use_wal(self) -> None:
        with self._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")

    def _migrate(self) -> None:
        with self._engine.connect() as connection:
            self._begin_writing(connection)
            migrate(connection)
            connection.commit()

    def _begin_reading(self, connection: Connection) -> None:
        if self._is_sqlite:
            connection.exec_driver_sql("BEGIN")
        else:
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))

    def _begin_writing(self, connection: Connection) -> None:
        if self._is_sqlite:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITER_KEY})

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self._writer_thread == threading.get_ident():
            raise RuntimeError("A nested write transaction would deadlock.")
        if not self._writer.acquire(timeout=BUSY_TIMEOUT_S):
            raise StoreError(f"The {describe(self.url)} is busy: another thread is writing.")
        self._writer_thread = threading.get_ident()
        try:
            yield
        finally:
            self._writer_thread = None
            self._writer.release()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError as error:
            raise ConflictError(
                "Conflicts with a concurrent change; nothing was changed. Try again."
            ) from error
        except SQLAlchemyError as error:
            if type(error) is StatementError and error.orig is not None:
                raise error.orig from None  # an invalid value: a bug of the caller
            raise store_error(error, self.url) from error
