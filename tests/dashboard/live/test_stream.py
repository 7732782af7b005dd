"""Event streams of live parts. While the control plane shuts down, a stream has the current state
and ends, so that a client without a network can read it."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2
import pytest
from starlette.routing import Mount
from starlette.testclient import TestClient

from headrace.control.operations.services import create_service
from headrace.control.operations.tokens import remove_token
from headrace.dashboard.live import stream
from headrace.dashboard.live.stream import LiveParts
from headrace.testing.example_runs import add_running_run
from headrace.testing.processes.control_api import ControlApi

TABLE = "/dashboard/services/live/table"
EVENT_STREAM = {"Accept": "text/event-stream"}
TIMEOUT_S = 30.0


@pytest.fixture
def ending(api: ControlApi) -> Iterator[None]:
    api.is_ending = True
    yield
    api.is_ending = False


def parts_of(api: ControlApi) -> LiveParts:
    """Of the dashboard that its app has mounted."""
    (parts,) = (
        route.app.state.live_parts
        for route in api.app.routes
        if isinstance(route, Mount) and route.name == "dashboard"
    )
    assert isinstance(parts, LiveParts)
    return parts


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def events(text: str) -> list[dict[str, str]]:
    """The fields of each event; lines of data are joined."""
    found = []
    for block in filter(None, text.split("\n\n")):
        fields: dict[str, str] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(": ")
            fields[name] = f"{fields[name]}\n{value}" if name in fields else value
        found.append(fields)
    return found


@pytest.mark.usefixtures("ending")
def test_a_part_is_sent_only_when_it_differs_from_what_the_browser_has(admin: TestClient) -> None:
    page = admin.get("/dashboard/services").text
    seen = re.search(r'data-live="([^"]+)" data-seen="(\w+)"', page)
    assert seen is not None
    assert seen[1] == TABLE
    response = admin.get(f"{TABLE}?seen={seen[2]}")
    assert response.headers["content-type"].startswith("text/event-stream")
    assert events(response.text) == [{"event": "current", "data": ""}]
    admin.post("/dashboard/services", data={"name": "svc"})
    (event,) = events(admin.get(f"{TABLE}?seen={seen[2]}").text)
    assert event["event"] == "part"
    assert 'href="/dashboard/services/svc"' in event["data"]
    assert events(admin.get(f"{TABLE}?seen={event['id']}").text)[0]["event"] == "current"


@pytest.mark.usefixtures("ending")
def test_the_page_and_its_stream_have_the_same_part(api: ControlApi, admin: TestClient) -> None:
    create_service(api.store, "svc", api.context.now())
    run_id = add_running_run(api.store, api.layout, api.context.now())
    for path in ("services", "services/svc", "services/svc/revisions", "services/svc/replicas",
                 "services/svc/events", "runs", f"runs/{run_id}",
                 "requests?key=a%26b&status=5xx"):  # fmt: skip
        page = admin.get(f"/dashboard/{path}").text
        found = re.search(r'data-live="([^"]+)" data-seen="(\w+)"', page)
        assert found is not None, path
        address = found[1].replace("&amp;", "&")
        separator = "&" if "?" in address else "?"
        response = admin.get(f"{address}{separator}seen={found[2]}")
        assert [event["event"] for event in events(response.text)] == ["current"], path


@pytest.mark.usefixtures("ending")
def test_no_part_has_a_csrf_token(api: ControlApi, admin: TestClient) -> None:
    """Viewers share it."""
    run_id = add_running_run(api.store, api.layout, api.context.now())
    page = admin.get(f"/dashboard/runs/{run_id}").text
    assert page.count('name="csrf_token"') == 2  # sign-out, and the actions beside the live part
    (event,) = events(admin.get(f"/dashboard/runs/{run_id}/live").text)
    assert "terminate" in event["data"]
    assert 'name="csrf_token"' not in event["data"]


@pytest.mark.usefixtures("ending")
def test_administrators_and_viewers_have_parts_of_their_own(
    api: ControlApi, admin: TestClient, viewer: TestClient
) -> None:
    create_service(api.store, "svc", api.context.now())
    address = "/dashboard/services/svc/live/state"
    (of_admin,) = events(admin.get(address).text)
    (of_viewer,) = events(viewer.get(address).text)
    assert "Edit the split" in of_admin["data"]
    assert "Show the split" in of_viewer["data"]


def test_a_missing_resource_ends_the_stream_with_its_message(admin: TestClient) -> None:
    (event,) = events(admin.get("/dashboard/services/nope/live/state").text)
    assert event["event"] == "missing"
    assert "nope" in event["data"]


def test_without_a_session_the_stream_leads_to_the_sign_in(api: ControlApi) -> None:
    response = api.client(None).get(TABLE, headers=EVENT_STREAM)
    assert events(response.text) == [{"event": "signed-out", "data": "/dashboard/sign-in"}]


@contextmanager
def following(url: str, token: str) -> Iterator[Iterator[dict[str, str]]]:
    """The events of the table of services, from a real server, as they come."""
    with httpx2.Client(base_url=url, timeout=TIMEOUT_S) as client:
        client.post("/dashboard/sign-in", data={"token": token})
        with client.stream("GET", TABLE, headers=EVENT_STREAM) as response:
            yield _as_they_come(response.iter_lines())


def _as_they_come(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    block: list[str] = []
    for line in lines:
        if line:
            block.append(line)
            continue
        yield from events("\n".join(block))
        block = []


def test_there_is_a_maximum_number_of_streams(api: ControlApi, admin: TestClient) -> None:
    parts_of(api).max_num_streams = 0
    assert admin.get(TABLE).status_code == 503


def test_viewers_share_a_part_and_none_is_read_after_the_last_one(
    api: ControlApi,
) -> None:
    parts = parts_of(api)
    with api.serving() as url:
        with following(url, api.admin_token) as first, following(url, api.admin_token) as second:
            assert [next(first)["event"], next(second)["event"]] == ["part", "part"]
            assert len(parts.watched) == 1
            assert parts.num_streams == 2
            create_service(api.store, "svc", api.context.now())
            assert 'href="/dashboard/services/svc"' in next(first)["data"]
            assert 'href="/dashboard/services/svc"' in next(second)["data"]
        wait_until(lambda: not parts.watched)


def test_a_revoked_token_ends_its_streams(api: ControlApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.05)
    with api.serving() as url, following(url, api.viewer_token) as received:
        assert next(received)["event"] == "part"
        remove_token(api.store, "viewer", api.context.now())
        named = (event for event in received if "event" in event)
        assert next(named)["event"] == "signed-out"
        assert next(named, None) is None


def test_a_shutdown_ends_streams_completely(api: ControlApi) -> None:
    """A cut one would raise an error."""
    with api.serving() as url, following(url, api.admin_token) as received:
        assert next(received)["event"] == "part"
        api.is_ending = True
        assert [event for event in received if "event" in event] == []
