"""URLs that can be used, those that cannot, and passwords that nobody ever sees."""

import importlib.util
import traceback

import pytest
from sqlalchemy import make_url

from headrace.control.errors import StoreError
from headrace.control.store.database import describe, open_engine
from headrace.control.store.store import Store

PASSWORD = "t0p-s3cret-pa55"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("state.db", "no scheme"),
        ("mysql://root@host/db", "must be sqlite:///FOLDER"),
        ("sqlite://", "needs a file"),
        ("sqlite:///", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        (f"postgresql://me:{PASSWORD}@ss@host/db", "write %40"),
        (f"postgresql://me:{PASSWORD}@host:{PASSWORD}/db", "cannot be read"),
        (f"mysql://me:{PASSWORD}@host/db", "must be sqlite:///FOLDER"),
        (f"postgresql:me:{PASSWORD}@host/db", "no scheme"),
    ],
)
def test_urls_that_cannot_be_used(url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        open_engine(url)
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{PASSWORD}@127.0.0.1:1/db",
        f"postgres://me:{PASSWORD}@127.0.0.1:1/db?connect_timeout=3",
        f"postgresql://me@127.0.0.1:1/db?password={PASSWORD}",
        f"postgresql://me:{PASSWORD}@/db?host=/nowhere/at/all",
        f"postgresql://me:{PASSWORD}@127.0.0.1:1/db?no_such_option={PASSWORD}",
    ],
)
def test_nobody_sees_the_password(url: str) -> None:
    with pytest.raises(StoreError, match="PostgreSQL database 'db' at") as caught:
        Store.open(url)
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


def test_nobody_sees_a_wrong_password(postgresql_url: str) -> None:
    url = make_url(postgresql_url).set(password=PASSWORD, drivername="postgresql")
    with pytest.raises(StoreError, match="cannot be used") as caught:
        Store.open(url.render_as_string(hide_password=False))
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


def test_a_store_does_not_show_its_password(database_url: str) -> None:
    store = Store.open(database_url)
    password = make_url(database_url).password
    store.close()
    assert password is None or password not in repr(store)
    assert "database" in repr(store)


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "psycopg" else find_spec(name, *rest),
    )
    with pytest.raises(StoreError, match=r"pip install 'headrace\[postgresql\]'"):
        open_engine("postgresql://host/db")


def test_a_database_is_described_by_its_place() -> None:
    assert describe(make_url("sqlite:////home/me/state.db")) == "SQLite database /home/me/state.db"
    url = make_url(f"postgresql+psycopg://me:{PASSWORD}@db.example:6543/headrace?x={PASSWORD}")
    assert describe(url) == "PostgreSQL database 'headrace' at db.example:6543"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: object) -> None:
    with open(f"{tmp_path}/file", "w"):
        pass
    with pytest.raises(StoreError, match=r"Not a directory|File exists"):
        Store.open(f"sqlite:///{tmp_path}/file/state.db")
