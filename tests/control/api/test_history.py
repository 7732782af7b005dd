"""The metrics of services over time, as the API returns them."""

from datetime import UTC, datetime

import pytest
from starlette.testclient import TestClient

from headrace.control.history.block import FINE
from headrace.control.history.current import ReplicaLoad
from headrace.control.history.revision_sample import METRICS, RevisionSample
from headrace.control.history.ring import Ring, TimedSample
from headrace.control.resources import Replica, ReplicaState, RevisionKey, Service
from headrace.testing.processes.control_api import ControlApi

BEGIN = 1_767_225_600
NOW = datetime.fromtimestamp(BEGIN, UTC)
SPEC = {"run": "serve --port 3000", "ports": [3000]}
END = BEGIN + 600


@pytest.fixture
def recorded(api: ControlApi) -> ControlApi:
    """Two revisions; the second one begins 15 s later."""
    with api.store.begin() as tx:
        tx.add_service(Service("svc", NOW))
        for _ in range(3):
            tx.add_revision("svc", SPEC, 1, NOW)
    ring = Ring(api.store)
    for step, numbers in ((0, (1,)), (1, (1, 2)), (2, (1, 2))):
        keys = [RevisionKey("svc", number) for number in numbers]
        at_s = BEGIN + step * 15
        ring.write(
            [
                TimedSample(
                    key, FINE, at_s, RevisionSample(requests_per_s=key.number * 10.0 + step)
                )
                for key in keys
            ],
            dict.fromkeys(keys, NOW),
            NOW,
        )
    return api


def test_series_of_revisions_are_aligned_and_a_viewer_may_read_them(recorded: ControlApi) -> None:
    answer = recorded.client(recorded.viewer_token).get(f"/v1/services/svc/history?end={END}")
    assert answer.status_code == 200, answer.text
    history = answer.json()
    assert (history["service"], history["period"], history["step_s"]) == ("svc", "hour", 15)
    times = history["times"]
    assert times == list(range(END - 3600, END, 15))
    assert [revision["number"] for revision in history["revisions"]] == [1, 2]
    for revision in history["revisions"]:
        assert revision.keys() == {"number", *METRICS}
        assert all(len(revision[metric]) == len(times) for metric in METRICS)
    first = times.index(BEGIN)
    rates = [one["requests_per_s"][first - 1 : first + 4] for one in history["revisions"]]
    assert rates == [[None, 10.0, 11.0, 12.0, None], [None, None, 21.0, 22.0, None]]


def test_one_revision_is_read_by_its_number(recorded: ControlApi, admin: TestClient) -> None:
    def numbers(query: str) -> list[int]:
        answer = admin.get(f"/v1/services/svc/history?end={END}{query}")
        assert answer.status_code == 200, answer.text
        return [revision["number"] for revision in answer.json()["revisions"]]

    assert numbers("&revision=2") == [2]
    assert numbers("&revision=3") == [3]  # without samples
    assert numbers("&period=day") == []


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("nope/history", 404, "not_found"),
        ("svc/history?revision=9", 404, "not_found"),
        ("svc/history?period=year", 422, "invalid_request"),
        ("svc/history?end=-1", 422, "invalid_request"),
        ("svc/history?end=99999999999", 422, "invalid_request"),
    ],
)
def test_what_is_not_there_is_said(
    recorded: ControlApi, admin: TestClient, path: str, status: int, code: str
) -> None:
    answer = admin.get(f"/v1/services/{path}")
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, code)


def test_a_token_is_needed(recorded: ControlApi) -> None:
    assert recorded.client(None).get("/v1/services/svc/history").status_code == 401


def test_replicas_show_their_memory_load_and_kv_cache(
    recorded: ControlApi, admin: TestClient
) -> None:
    with recorded.store.begin() as tx:
        for name in ("known", "new"):
            tx.add_replica(Replica(name, "svc", 1, ReplicaState.READY, NOW, NOW))
    recorded.current.replace({}, {"known": ReplicaLoad(1 << 30, 1.5, 0.25, 3, 4)})
    known, new = admin.get("/v1/services/svc/replicas").json()
    names = ("memory_bytes", "cpu_cores", "kv_cache_usage", "num_running", "num_waiting")
    assert [known[name] for name in names] == [1 << 30, 1.5, 0.25, 3, 4]
    assert [new[name] for name in names] == [None] * 5
    revision = admin.get("/v1/services/svc/revisions/1").json()
    assert [one["memory_bytes"] for one in revision["replicas"]] == [1 << 30, None]
