"""Database engines for SQLite and PostgreSQL, with settings for durability and locking.

Errors name the database without its password, and never contain the values of a statement.
"""

import importlib.util
import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from headrace.control.errors import StoreError

BUSY_TIMEOUT_S = 30.0
"""How long a writer waits for the lock."""

_CONNECT_TIMEOUT_S = 10
_MAX_NUM_IDLE = 5
_MAX_NUM_BEYOND = 35
"""Connections: enough for every thread of the control plane."""
_POSTGRESQL_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")
_EXAMPLES = "sqlite:///FOLDER/state.db or postgresql://USER:PASSWORD@HOST/DATABASE"


def open_engine(url: str) -> Engine:
    """Raises StoreError if the URL is invalid. Connects lazily."""
    parsed = _parse(url)
    if parsed.drivername == "sqlite":
        return _sqlite_engine(parsed)
    return _postgresql_engine(parsed)


def describe(url: URL) -> str:
    """The database for messages: without user, password and query (which may have a password)."""
    if url.get_backend_name() == "sqlite":
        return f"SQLite database {url.database}"
    host = url.host or "the local socket"
    return f"PostgreSQL database '{url.database or ''}' at {host}" + (
        f":{url.port}" if url.port else ""
    )


def store_error(error: SQLAlchemyError, url: URL) -> StoreError:
    """A StoreError with the reason and what to do."""
    return StoreError(f"The {describe(url)} cannot be used: {_reason(error, url)}")


def sqlite_path(url: URL) -> Path | None:
    """The path of its file; None for other databases."""
    if url.get_backend_name() != "sqlite" or url.database is None:
        return None
    return Path(url.database)


def _parse(url: str) -> URL:
    # Parsers' error messages quote the URL, so they must not be shown.
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator:
        raise StoreError(f"The database URL has no scheme. Write it as {_EXAMPLES}.")
    if scheme == "sqlite":
        if not rest.startswith("/") or len(rest) == 1 or rest.startswith("/:memory:"):
            raise StoreError(
                "A SQLite database needs a file: sqlite:///FOLDER/state.db, with four slashes for "
                "an absolute path."
            )
        return URL.create("sqlite", database=str(Path(rest[1:]).expanduser()))
    if scheme not in _POSTGRESQL_SCHEMES:
        raise StoreError(f"The database URL must be {_EXAMPLES}.")
    if rest.partition("?")[0].count("@") > 1:
        raise StoreError("The database URL has more than one @: in a password, write %40 for it.")
    try:
        parsed = make_url(f"postgresql+psycopg://{rest}")
    except (ArgumentError, ValueError):
        raise StoreError(
            "The database URL cannot be read: in a password, write %40 for @, %2F for /, "
            "%3A for : and %25 for %."
        ) from None
    if importlib.util.find_spec("psycopg") is None:
        raise StoreError(
            "PostgreSQL needs a driver that is not installed; run "
            "pip install 'headrace[postgresql]'."
        )
    return parsed


def _sqlite_engine(url: URL) -> Engine:
    path = Path(url.database or "")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Created here with mode 0600: it contains environment variables of manifests.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StoreError(f"The {describe(url)} cannot be used: {error.strerror}.") from error
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_size=_MAX_NUM_IDLE,
        max_overflow=_MAX_NUM_BEYOND,
        pool_timeout=BUSY_TIMEOUT_S,
        connect_args={"timeout": BUSY_TIMEOUT_S},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    assert isinstance(connection, sqlite3.Connection)
    # The driver must not begin transactions by itself: it would begin them as readers.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")  # acknowledged writes survive a power failure


def _postgresql_engine(url: URL) -> Engine:
    timeout_ms = int(BUSY_TIMEOUT_S * 1000)
    connect_args: dict[str, Any] = {
        "connect_timeout": _CONNECT_TIMEOUT_S,
        "application_name": "headrace",
    }
    if "options" not in url.query:
        connect_args["options"] = (
            f"-c lock_timeout={timeout_ms} -c idle_in_transaction_session_timeout=600000"
        )
    for given in url.query:
        connect_args.pop(given, None)
    return create_engine(
        url,
        hide_parameters=True,
        # Regardless of the server's default: a writer must see what was committed while it waited.
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,  # no errors after a restart of the server
        pool_size=_MAX_NUM_IDLE,
        max_overflow=_MAX_NUM_BEYOND,
        pool_timeout=BUSY_TIMEOUT_S,
        connect_args=connect_args,
    )


def _reason(error: SQLAlchemyError, url: URL) -> str:
    if isinstance(error, PoolTimeoutError):
        return "all its connections are in use. Try again."
    if not isinstance(error, DBAPIError):
        return f"{type(error).__name__}."
    original = error.orig
    text = " ".join(str(original).split())
    if "database is locked" in text or "lock timeout" in text:
        return "another process holds the write lock. Try again."
    if "database disk image is malformed" in text or "file is not a database" in text:
        return "the file is damaged, or not a database. Move it away to start with a new one."
    for secret in _secrets(url):
        text = text.replace(secret, "***")
    return f"{text.rstrip('.')}."


def _secrets(url: URL) -> list[str]:
    values = [url.password, *(url.query.get(name) for name in ("password", "sslpassword"))]
    return [value for value in values if isinstance(value, str) and value]
