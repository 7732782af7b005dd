"""Listings come in pages, and nothing that is answered is made of all that ever was."""

from datetime import UTC, datetime, timedelta

import pytest
from starlette.testclient import TestClient

from headrace.control import client as client_module
from headrace.control.client import ControlClient
from headrace.control.errors import ControlApiError
from headrace.control.resources import (
    Event,
    Replica,
    ReplicaState,
    RevisionPhase,
    Run,
    RunState,
    Service,
)
from headrace.control.store import mapping
from headrace.testing.processes.control_api import ControlApi

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SPEC = {"run": "serve --port 3000", "ports": [3000]}
NUM = 25


@pytest.fixture
def past(api: ControlApi) -> ControlApi:
    """With so many of everything, on one service of which the first revision crashes."""
    with api.store.begin() as tx:
        tx.add_service(Service("svc", NOW))
        for _ in range(NUM):
            tx.add_revision("svc", SPEC, 1, NOW)
        for number in range(NUM):
            at = NOW + timedelta(seconds=number)
            failed = ReplicaState.FAILED
            tx.add_replica(Replica(f"r{number}", "svc", 1, failed, at, at, f"crash {number}"))
            tx.add_run(Run(str(number), "job", {"run": "x"}, RunState.COMPLETED, at, at))
            tx.add_event(Event(at, "service svc", str(number), "why", service="svc"))
    return api


def test_each_listing_has_its_newest_page(past: ControlApi) -> None:
    admin = past.client(past.admin_token)

    def ask(path: str) -> list[dict[str, object]]:
        answer = admin.get(f"/v1/{path}")
        assert answer.status_code == 200, answer.text
        found: list[dict[str, object]] = answer.json()
        return found

    last, before = NUM - 1, NUM - 3
    assert [one["run_id"] for one in ask("runs?limit=2")] == [str(last - 1), str(last)]
    assert [one["run_id"] for one in ask("runs?limit=2&before=1")] == ["0"]
    path = "services/svc/replicas"
    assert [one["replica_id"] for one in ask(f"{path}?limit=1")] == [f"r{last}"]
    assert [one["replica_id"] for one in ask(f"{path}?limit=1&before=r{last}")] == [f"r{last - 1}"]
    assert ask(f"{path}?revision=2") == []
    path = "services/svc/revisions"
    assert [one["number"] for one in ask(f"{path}?limit=2")] == [NUM - 1, NUM]
    assert [one["number"] for one in ask(f"{path}?limit=1&before=2")] == [1]
    events = ask("events?service=svc&limit=2")
    assert [one["what"] for one in events] == [str(last - 1), str(last)]
    earlier = ask(f"events?service=svc&limit=1&before={events[0]['event_id']}")
    assert [one["what"] for one in earlier] == [str(before)]


@pytest.mark.parametrize("path", ["runs", "services/svc/replicas", "services/svc/revisions"])
def test_a_page_has_its_limits(past: ControlApi, admin: TestClient, path: str) -> None:
    for limit in (0, 1001):
        assert admin.get(f"/v1/{path}?limit={limit}").status_code == 422
    assert len(admin.get(f"/v1/{path}").json()) == NUM


def test_a_page_before_what_is_not_there_is_an_error(past: ControlApi, admin: TestClient) -> None:
    with past.store.begin() as tx:
        tx.add_service(Service("other", NOW))
    for path in ("runs?before=x", "services/svc/replicas?before=x",
                 "services/other/replicas?before=r1"):  # fmt: skip
        assert admin.get(f"/v1/{path}").status_code == 404, path


def test_the_client_puts_pages_together(
    past: ControlApi, client: ControlClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_MAX_NUM_A_PAGE", 4)
    newest = [str(number) for number in range(NUM - 10, NUM)]
    assert [one.run_id for one in client.runs(limit=10)] == newest
    assert [one.what for one in client.events(service="svc", limit=10)] == newest
    assert [one.replica_id for one in client.replicas("svc", limit=10)] == [
        f"r{number}" for number in newest
    ]
    numbers = list(range(1, NUM + 1))
    assert [one.number for one in client.revisions("svc", limit=NUM)] == numbers
    assert [one.number for one in client.revisions("svc", limit=10 * NUM)] == numbers
    assert client.replicas("svc", revision=2) == []


def test_more_events_than_a_page_holds(client: ControlClient, api: ControlApi) -> None:
    with api.store.begin() as tx:
        for number in range(1200):
            tx.add_event(Event(NOW, "service svc", str(number), "why", service="svc"))
    told = [event.what for event in client.events(service="svc", limit=1100)]
    assert told == [str(number) for number in range(100, 1200)]


def test_a_status_is_told_by_few(
    past: ControlApi, client: ControlClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_loaded = 0
    replica_from = mapping.replica_from

    def count(row: object) -> Replica:
        nonlocal num_loaded
        num_loaded += 1
        return replica_from(row)  # type: ignore[arg-type]

    monkeypatch.setattr(mapping, "replica_from", count)
    read = client.revision("svc", 1)
    assert (read.status, read.cause, read.replicas) == ("failed", f"crash {NUM - 1}", [])
    assert num_loaded <= 5
    assert client.revisions("svc")[0] == read
    assert num_loaded <= 10


def test_a_crash_before_the_last_stop_is_forgiven(api: ControlApi, client: ControlClient) -> None:
    with api.store.begin() as tx:
        tx.add_service(Service("svc", NOW))
        tx.add_revision("svc", SPEC, 1, NOW)
        for number in range(5):
            tx.add_replica(Replica(f"f{number}", "svc", 1, ReplicaState.FAILED, NOW, NOW, "crash"))
        later = NOW + timedelta(seconds=1)
        tx.add_replica(Replica("s", "svc", 1, ReplicaState.STOPPED, NOW, later))
    assert client.revision("svc", 1).status == "starting"


def test_a_terminated_revision_needs_no_replicas(past: ControlApi, client: ControlClient) -> None:
    with past.store.begin() as tx:
        tx.set_phase("svc", 1, RevisionPhase.TERMINATED)
    read = client.revision("svc", 1)
    assert (read.status, read.cause, read.replicas) == ("terminated", None, [])


def test_a_deleted_service_leaves_no_folders(past: ControlApi, client: ControlClient) -> None:
    root = past.context.folders._replicas
    for name in ("r0", "r7", "other-1-x"):
        (root / name).mkdir(parents=True)
        (root / name / "log").write_text("x")
    with past.store.begin() as tx:
        for number in range(1, NUM + 1):
            tx.set_phase("svc", number, RevisionPhase.TERMINATED)
    client.delete_service("svc")
    assert [path.name for path in root.iterdir()] == ["other-1-x"]


def test_a_deleted_run_leaves_no_folder(past: ControlApi, client: ControlClient) -> None:
    folder = past.context.folders._runs / "7"
    folder.mkdir(parents=True)
    (folder / "log").write_text("x")
    with past.store.begin() as tx:
        tx.add_event(Event(NOW, "run 7", "completed", "", run_id="7"))
    client.delete_run("7")
    assert not folder.exists()
    with pytest.raises(ControlApiError, match="'7'") as refused:
        client.run("7")
    assert refused.value.code == "not_found"
    with pytest.raises(ControlApiError, match="'7'") as refused:
        client.delete_run("7")
    assert refused.value.code == "not_found"
    assert client.events(run_id="7") == []
    [event] = client.events(limit=1)
    assert (event.subject, event.what) == ("run 7", "deleted")
    assert len(client.runs()) == NUM - 1
