"""Databases for tests: a SQLite file, and a real PostgreSQL that runs until the session ends.

PostgreSQL is $HEADRACE_TEST_DATABASE_URL, whose user may create databases, or else a cluster of
Debian's binaries in a folder of its own. Knows no table.
"""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, make_url, text

from headrace.control.store.store import Store

_CLUSTER_USERS = ("postgres", "nobody")
_START_TIMEOUT_S = 120.0


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """Of a server, as a user that may create databases."""
    given = os.environ.get("HEADRACE_TEST_DATABASE_URL")
    if given:
        yield given
        return
    pytest.importorskip("psycopg", reason="needs psycopg: pip install 'headrace[postgresql]'")
    binaries = _find_binaries()
    if binaries is None:
        pytest.skip("needs PostgreSQL: apt-get install postgresql, or HEADRACE_TEST_DATABASE_URL")
    user = _find_user()
    with tempfile.TemporaryDirectory(prefix="headrace-pg-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        if user is not None:
            entry = pwd.getpwnam(user)
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        with _running_cluster(binaries, folder, user) as url:
            yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the tables of a store, to be copied."""
    path = tmp_path_factory.mktemp("template") / "state.db"
    Store.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture(scope="session")
def postgresql_template(postgresql_url: str) -> Iterator[str]:
    """The name of a database with the tables of a store, to be copied."""
    with _new_database(postgresql_url) as url:
        Store.open(url).close()
        name = make_url(url).database
        assert name is not None
        yield name


@pytest.fixture
def postgresql_database_url(postgresql_url: str) -> Iterator[str]:
    """An empty database for this test alone."""
    with _new_database(postgresql_url) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database for this test alone, on SQLite and then on PostgreSQL.

    Empty; with the tables of a store, and no rows, where the test takes ``store`` too.
    """
    has_tables = "store" in request.fixturenames
    if request.param == "sqlite":
        path = tmp_path / "control" / "state.db"
        if has_tables:
            path.parent.mkdir(mode=0o700)
            path.touch(0o600)
            shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    server: str = request.getfixturevalue("postgresql_url")
    template = request.getfixturevalue("postgresql_template") if has_tables else None
    with _new_database(server, template) as url:
        yield url


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """Opened, and empty."""
    opened = Store.open(database_url)
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def _new_database(server: str, template: str | None = None) -> Iterator[str]:
    """An empty one, or a copy of ``template``."""
    name = f"headrace_test_{secrets.token_hex(6)}"
    url = make_url(server).set(drivername="postgresql+psycopg")
    _administer(url, f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
    try:
        yield url.set(database=name).render_as_string(hide_password=False)
    finally:
        _administer(url, f"DROP DATABASE {name} WITH (FORCE)")


def _administer(url: URL, statement: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(statement))
    finally:
        engine.dispose()


@contextmanager
def _running_cluster(binaries: Path, folder: Path, user: str | None) -> Iterator[str]:
    password, data = secrets.token_hex(8), folder / "data"
    password_file = folder / "password"
    password_file.write_text(password)
    log = folder / "log"
    as_user = {} if user is None else {"user": user, "group": pwd.getpwnam(user).pw_gid}
    password_file.chmod(0o644)
    subprocess.run(
        [
            *(str(binaries / "initdb"), "--pgdata", str(data), "--username", "headrace"),
            *("--encoding", "UTF8", "--locale", "C", "--no-sync"),
            *("--auth", "scram-sha-256", "--pwfile", str(password_file)),
        ],
        check=True,
        capture_output=True,
        cwd=folder,
        timeout=_START_TIMEOUT_S,
        **as_user,
    )
    port = _free_port()  # after what takes seconds, so that nobody else gets it meanwhile
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "shared_buffers": "16MB",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(str(binaries / "postgres"), "-D", str(data)),
                *(f"--{name}={value}" for name, value in settings.items()),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            **as_user,
        )
    try:
        url = f"postgresql://headrace:{password}@127.0.0.1:{port}/postgres"
        _wait_until_answering(process, url, log)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_answering(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    import psycopg

    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            psycopg.connect(url, connect_timeout=30).close()
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"PostgreSQL did not start ({error}):\n{log.read_text()}")
            time.sleep(0.05)  # between two looks at a condition
        else:
            return


def _find_binaries() -> Path | None:
    """The newest of Debian's, or those on the PATH."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    if installed:
        return installed[-1].parent
    on_path = shutil.which("initdb")
    return None if on_path is None else Path(on_path).resolve().parent


def _version(initdb: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in initdb.parts[-3].split(".") if part.isdigit())


def _find_user() -> str | None:
    """Whom PostgreSQL runs as: it refuses root. None: whoever we are."""
    if os.geteuid() != 0:
        return None
    for name in _CLUSTER_USERS:
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    pytest.skip("PostgreSQL refuses to run as root, and there is no user to run it as")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
