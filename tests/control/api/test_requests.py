"""Requests through a real gateway, as the API and its client show them."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headrace.control.client import ControlClient, Credentials
from headrace.control.errors import ControlApiError
from headrace.control.history.usage_recorder import UsageRecorder
from headrace.control.operations.services import create_service
from headrace.control.traffic.gateway_link import GatewayLink
from headrace.core.gateway.routes import ServiceRoute, TargetRoute
from headrace.testing.processes.control_api import ControlApi
from headrace.testing.processes.gateway_process import GatewayProcess
from headrace.testing.processes.replica_process import MockServerProcess
from headrace.testing.raw_http import post, request

NUM_REQUESTS = 4


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """That has forwarded requests to one service, and rejected one."""
    with MockServerProcess() as mock, GatewayProcess(tmp_path_factory.mktemp("gw")) as gateway:
        target = TargetRoute(1, 3000, 100, (mock.route,))
        gateway.follow(ServiceRoute("svc", True, (target,)), ServiceRoute("off", False))
        url = f"http://127.0.0.1:{gateway.port}"
        for _ in range(NUM_REQUESTS):
            assert post(url, "/svc/v1/completions", {"model": "mock", "prompt": "x"}).status == 200
        assert request(url, "GET", "/off/v1/models").status == 503
        yield gateway


@pytest.fixture
def api(tmp_path: Path, gateway: GatewayProcess) -> Iterator[ControlApi]:
    api = ControlApi(tmp_path, gateway_admin_url=gateway.admin_url)
    create_service(api.store, "svc", datetime.now(UTC))
    yield api
    api.close()


@pytest.fixture
def viewer(api: ControlApi) -> Iterator[ControlClient]:
    with api.serving() as url, ControlClient(Credentials(url, api.viewer_token)) as client:
        yield client


def test_a_viewer_reads_the_last_requests(viewer: ControlClient) -> None:
    found = viewer.requests(service="svc")
    assert len(found) == NUM_REQUESTS
    for one in found:
        assert (one.service, one.revision, one.status, one.end) == ("svc", 1, 200, "finished")
        assert (one.model, one.path) == ("mock", "/v1/completions")
        assert [attempt.outcome for attempt in one.attempts] == ["ok"]
        assert one.arrived_at.tzinfo is not None
    assert [one.arrived_at for one in found] == sorted(one.arrived_at for one in found)
    assert viewer.requests(service="svc", limit=2) == found[-2:]
    everything = viewer.requests()
    assert [one.service for one in everything] == ["svc"] * NUM_REQUESTS + ["off"]
    assert [one.error_code for one in viewer.requests(status="5xx")] == ["service_disabled"]
    assert viewer.requests(revision=2) == []


def test_pages_are_joined(viewer: ControlClient, monkeypatch: pytest.MonkeyPatch) -> None:
    found = viewer.requests(service="svc")
    monkeypatch.setattr("headrace.control.client._MAX_NUM_A_PAGE", 3)
    assert viewer.requests(service="svc") == found


def test_one_request_has_a_timeline(viewer: ControlClient) -> None:
    first = viewer.requests(service="svc")[0]
    one = viewer.request(first.record_id)
    assert one.request_id == first.request_id
    assert one.timeline[-1].end_s == pytest.approx(one.total_s)
    assert one.timeline[-1].replica_id == "mock"
    with pytest.raises(ControlApiError) as unknown:
        viewer.request("unknown")
    assert unknown.value.code == "not_found"
    with pytest.raises(ControlApiError) as unknown:
        viewer.requests(service="unknown")
    assert unknown.value.code == "not_found"


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "status=9", "revision=0", "min_duration_s=nan", "min_duration_s=-1"],
)
def test_an_invalid_filter_is_refused(api: ControlApi, query: str) -> None:
    reply = api.client(api.viewer_token).get(f"/v1/requests?{query}")
    assert reply.status_code == 422


def test_without_a_gateway_the_reason_is_given(tmp_path: Path) -> None:
    api = ControlApi(tmp_path, gateway_admin_url="http://127.0.0.1:1")
    try:
        reply = api.client(api.viewer_token).get("/v1/requests")
    finally:
        api.close()
    assert reply.status_code == 503
    assert reply.json()["error"]["type"] == "gateway_unavailable"


def test_what_the_gateway_has_counted_becomes_usage(
    api: ControlApi, gateway: GatewayProcess, viewer: ControlClient
) -> None:
    async def record() -> None:
        link = GatewayLink(gateway.admin_url)
        await UsageRecorder(api.store, link, api.context.now).run_pass()
        await link.close()

    asyncio.run(record())
    (row,) = viewer.usage(by=["service", "model"], service="svc")
    assert (row.service, row.model, row.key) == ("svc", "mock", None)
    assert (row.num_requests, row.num_errors) == (NUM_REQUESTS, 0)
    assert row.completion_tokens > 0
    (row,) = viewer.usage(by=["service"], service="off")
    assert (row.num_requests, row.num_errors) == (1, 1)
    assert viewer.usage(since="2000-01-01", until="2000-01-02") == []
    assert viewer.usage(until="0001-01-01") == []
    with pytest.raises(ControlApiError):
        viewer.usage(by=["hour"])
