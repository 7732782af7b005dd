"""The route table's file: valid tables are loaded, invalid ones ignored."""

import logging
import os
from pathlib import Path

import msgspec
import pytest

from headrace.core.gateway.routes import ReplicaRoute, RouteTable, Sticky, TargetRoute
from headrace.gateway.table_file import RouteTableError, TableFile, read_table
from headrace.testing.route_tables import route_table, service_route, target_route

GOOD = route_table(service_route(target_route(1, 90, (1, 2)), target_route(2, 10, (3,))), version=7)


def write(path: Path, table: RouteTable) -> None:
    beside = path.with_suffix(".new")
    beside.write_bytes(msgspec.json.encode(table))
    os.replace(beside, path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "routes.json"


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, logger="headrace.gateway")
    return caplog


def test_a_valid_table_is_returned_once_per_change(path):
    write(path, GOOD)
    file = TableFile(path)
    assert file.read_if_changed() == GOOD
    assert file.read_if_changed() is None
    newer = route_table(version=8)
    write(path, newer)
    assert file.read_if_changed() == newer


def test_a_missing_file_at_startup_is_accepted(path, log):
    file = TableFile(path)
    assert file.read_if_changed() is None
    assert file.read_if_changed() is None
    assert [record.levelno for record in log.records] == [logging.INFO]
    write(path, GOOD)
    assert file.read_if_changed() == GOOD


def test_a_deleted_file_is_logged_once_and_may_return(path, log):
    write(path, GOOD)
    file = TableFile(path)
    file.read_if_changed()
    path.rename(path.with_suffix(".away"))
    assert file.read_if_changed() is None
    assert file.read_if_changed() is None
    assert [record.levelno for record in log.records] == [logging.ERROR]
    path.with_suffix(".away").rename(path)
    assert file.read_if_changed() == GOOD


def test_an_invalid_file_is_logged_once(path, log):
    write(path, GOOD)
    file = TableFile(path)
    file.read_if_changed()
    path.write_bytes(msgspec.json.encode(GOOD)[:-20])
    assert file.read_if_changed() is None
    assert file.read_if_changed() is None
    assert len(log.records) == 1
    assert "Keeping the previous" in log.records[0].getMessage()
    write(path, GOOD)
    assert file.read_if_changed() == GOOD


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"version": "x"}', b"\xff\xff", b"null"])
def test_invalid_tables_are_rejected(path, text):
    path.write_bytes(text)
    with pytest.raises(RouteTableError, match="is not valid"):
        read_table(path)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (route_table(service_route(), service_route()), "two services"),
        (route_table(service_route(name="A"), service_route(name="a")), "two services"),
        (route_table(service_route(name="")), "no name"),
        (route_table(service_route(target_route(1, 50), target_route(1, 50))), "twice"),
        (route_table(service_route(target_route(1, 110), target_route(2, -10))), "negative"),
        (route_table(service_route(target_route(1, 10**7))), "sum to more"),
        (route_table(service_route(sticky=Sticky())), "sticky"),
        (route_table(service_route(sticky=Sticky(header="x", user=True))), "sticky"),
        (route_table(service_route(sticky=Sticky(header="日"))), "not a header name"),
        *(
            (
                route_table(
                    service_route(TargetRoute(1, 3000, 100, (ReplicaRoute("r1", host, 1),)))
                ),
                "no valid address",
            )
            for host in ("", "a b", "a\r\nx: y", "a/b", "u@h", "[::1]")
        ),
        (
            route_table(
                service_route(TargetRoute(1, 3000, 100, (ReplicaRoute("r1", "127.0.0.1", 0),)))
            ),
            "no valid address",
        ),
    ],
)
def test_an_inconsistent_table_is_rejected(path, table, problem):
    write(path, table)
    with pytest.raises(RouteTableError, match=problem):
        read_table(path)


def test_unknown_fields_are_ignored(path):
    path.write_bytes(b'{"version": 3, "services": [], "colour": "blue"}')
    assert read_table(path) == RouteTable(3)
