"""Limits on what one client can send, and on clients that do not read."""

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
from starlette.testclient import TestClient

from headrace.control.api import http_protocol, log_stream
from headrace.control.api.body_limit import MAX_BODY_BYTES, BodyLimit
from headrace.control.api.log_response import MAX_NUM_FOLLOWERS
from headrace.control.client import ControlClient, Credentials
from headrace.control.errors import ControlApiError
from headrace.control.resources import Event, Replica, ReplicaState, Run, RunState
from headrace.testing.processes.control_api import ControlApi

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DEADLINE_S = 60.0
MIB = 1024 * 1024


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/services"),
        ("POST", "/v1/services/svc/revisions"),
        ("PUT", "/v1/services/svc/gateway"),
        ("POST", "/v1/runs"),
        ("PUT", "/v1/secrets/hub"),
        ("POST", "/v1/tokens"),
        ("GET", "/v1/services"),
        ("POST", "/nowhere"),
    ],
)
@pytest.mark.parametrize("is_admin", [False, True])
def test_a_body_has_a_bound(api: ControlApi, method: str, path: str, is_admin: bool) -> None:
    client = api.client(api.admin_token if is_admin else None)
    whole = b"x" * (MAX_BODY_BYTES + 1)
    pieces = iter([b"x" * MAX_BODY_BYTES, b"xx"])
    reply = client.request(method, path, content=whole)
    assert reply.status_code == 413
    assert reply.json()["error"]["code"] == 413
    if is_admin and method != "GET" and path != "/nowhere":
        assert client.request(method, path, content=pieces).status_code == 413


def test_a_refused_body_is_discarded_up_to_a_limit() -> None:
    """Even if the body never ends."""
    num_read = 0
    refused: list[int] = []

    async def receive() -> dict[str, object]:
        nonlocal num_read
        num_read += 65536
        return {"type": "http.request", "body": b"x" * 65536, "more_body": True}

    async def app(scope: object, receive: Callable[[], object], send: object) -> None:
        while True:
            await receive()  # type: ignore[misc]

    async def send(message: object) -> None:
        pass

    def refuse(status: int, message: str) -> Callable[..., object]:
        async def response(scope: object, receive: object, send: object) -> None:
            refused.append(status)

        return response

    limit = BodyLimit(app, refuse)  # type: ignore[arg-type]
    scope = {"type": "http", "headers": [(b"content-length", b"9" * 30)]}
    asyncio.run(limit(scope, receive, send))  # type: ignore[arg-type]
    assert refused == [413]
    assert num_read <= 20 * MIB


@pytest.mark.parametrize(
    "body",
    [
        b"[" * MIB,
        b"{" * MIB,
        b'{"name":' * 100_000,
        b"9" * MIB,
        b'{"name": ' + b"9" * 500_000 + b"}",
        json.dumps({f"k{number}": 1 for number in range(60_000)}).encode(),
        json.dumps({"name": ["x"] * 200_000}).encode(),
        b'{"name": "\\ud800"}',
        b'{"name": "a\\u0000b"}',
        b'{"value": "\\ud800"}',
        b'{"value": "a\\u0000b"}',
        b'{"name": "svc", "\\ud800": 1}',
        b"\xff\xfe",
        b"",
    ],
    ids=lambda body: str(body[:12]),
)
def test_hostile_bodies_are_the_clients_fault(admin: TestClient, body: bytes) -> None:
    for method, path in (("POST", "/v1/services"), ("PUT", "/v1/secrets/hub")):
        reply = admin.request(
            method, path, content=body, headers={"content-type": "application/json"}
        )
        assert 400 <= reply.status_code < 500
        assert len(reply.content) < 64 * 1024


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        "{a: " * 50_000,
        "- " * 100_000,
        "a: &a [1]\n" + "b: *a\n" * 20_000,
        "a: &a {b: 1}\nrun: x\n" + "c: {<<: *a}\n" * 5_000,
        "x" * 262_144,
        "import: {/a: ~nosuchuser/x}\nrun: x",
        "run: x\ngrace_period: " + "9" * 100_000,
    ],
    ids=lambda text: text[:12],
)
def test_hostile_manifests_are_the_clients_fault(admin: TestClient, text: str) -> None:
    admin.post("/v1/services", json={"name": "svc"})
    for path in ("/v1/services/svc/revisions", "/v1/runs"):
        reply = admin.post(path, content=text.encode())
        assert reply.status_code in (201, 422)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("file=~nosuchuser/x.yaml", 201),
        ("file=" + "x" * 5000, 422),
        ("folder=/" + "x" * 5000, 422),
        ("file=%00", 422),
        ("folder=/a%00b", 422),
        ("file=%ff%fe", 201),
    ],
)
def test_names_of_files_have_bounds(admin: TestClient, query: str, status: int) -> None:
    manifest = "run: x\nimport: {/a: ./b}\n"
    assert admin.post(f"/v1/runs?{query}", content=manifest).status_code == status


@pytest.fixture
def following(api: ControlApi, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The URL of the API and the log of a running run."""
    log = tmp_path / "run" / "log"
    log.parent.mkdir()
    log.write_text("begun\n")
    with api.store.begin() as tx:
        tx.add_run(
            Run("1", "job", {"run": "x"}, RunState.RUNNING, NOW, NOW, folder=str(log.parent))
        )
    with api.serving() as url:
        yield url, log


def test_the_number_of_followers_is_limited(api: ControlApi, following: tuple[str, Path]) -> None:
    url, _ = following
    api.context.followers.max_num = 2
    clients = [ControlClient(Credentials(url, api.admin_token)) for _ in range(3)]
    logs = [client.run_log("1", follow=True, num_lines=None) for client in clients]
    assert [next(log) for log in logs[:2]] == [b"begun\n"] * 2
    with pytest.raises(ControlApiError, match="maximum 2") as refused:
        next(logs[2])
    assert refused.value.code == "too_many_followers"
    reply = httpx2.get(
        f"{url}/v1/runs/1/log?follow=true", headers={"Authorization": f"Bearer {api.viewer_token}"}
    )
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "10")
    assert b"".join(clients[2].run_log("1", follow=False, num_lines=None)) == b"begun\n"
    logs[0].close()
    clients[0].__exit__(None, None, None)
    wait_until(lambda: api.context.followers.num == 1)
    assert next(clients[2].run_log("1", follow=True, num_lines=None)) == b"begun\n"
    for client in clients[1:]:
        client.__exit__(None, None, None)
    wait_until(lambda: api.context.followers.num == 0)
    assert MAX_NUM_FOLLOWERS > 2


def test_a_follower_that_never_reads_is_cut_off(
    api: ControlApi, following: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol.HttpProtocol, "max_stall_s", 0.2)
    url, log = following
    log.write_bytes(b"x" * (64 * MIB))
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(
            b"GET /v1/runs/1/log?follow=true HTTP/1.1\r\nHost: localhost\r\n"
            b"Authorization: Bearer " + api.admin_token.encode() + b"\r\n\r\n"
        )
        wait_until(lambda: api.context.followers.num == 1)
        wait_until(lambda: api.context.followers.num == 0)
    with ControlClient(
        Credentials(url, api.admin_token)
    ) as reader:  # a client that reads gets all of it
        assert sum(map(len, reader.run_log("1", follow=False, num_lines=None))) == 64 * MIB


def test_a_quiet_log_is_followed_at_little_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is queried at every fifth look at the log."""
    monkeypatch.setattr(log_stream, "_POLL_S", 0.0)
    log = tmp_path / "log"
    log.write_text("begun\n")
    num_queries = num_looks = 0
    has_more = log_stream._has_more

    def count_looks(path: Path | None, position: int) -> bool:
        nonlocal num_looks
        num_looks += 1
        return has_more(path, position)

    def is_over() -> bool:
        nonlocal num_queries
        num_queries += 1
        return num_queries > 20

    async def follow() -> bytes:
        pieces = log_stream.stream_log(lambda: log, num_lines=None, is_over=is_over)
        return b"".join([piece async for piece in pieces])

    monkeypatch.setattr(log_stream, "_has_more", count_looks)
    assert asyncio.run(follow()) == b"begun\n"
    assert num_looks >= 5 * (num_queries - 1)


def test_a_spec_of_another_version_does_not_break_listings(
    api: ControlApi, admin: TestClient
) -> None:
    admin.post("/v1/services", json={"name": "svc"})
    good = admin.post("/v1/services/svc/revisions", content="run: x").json()
    with api.store.begin() as tx:
        tx.add_revision("svc", {"nonsense": 1}, 1, NOW)
        tx.add_replica(Replica("r", "svc", 2, ReplicaState.FAILED, NOW, NOW, cause="why"))
        tx.add_run(Run("1", "job", {"nonsense": 1}, RunState.FAILED, NOW, NOW, cause="why"))
        tx.add_event(Event(NOW, "run 1", "failed", "why", run_id="1"))
    listed = admin.get("/v1/services/svc/revisions").json()
    assert [one["number"] for one in listed] == [1, 2]
    assert listed[0]["command"] == good["command"]
    assert "cannot read it: nonsense" in listed[1]["notes"][0]
    assert listed[1]["cause"] == "why"
    assert [one["replica_id"] for one in admin.get("/v1/services/svc/replicas").json()] == ["r"]
    [run] = admin.get("/v1/runs").json()
    assert "cannot read it: nonsense" in run["notes"][0]
