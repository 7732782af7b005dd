"""The pages of requests without a gateway."""

from datetime import UTC, datetime

import pytest
from starlette.testclient import TestClient

from headrace.control.api.responses import PhaseView, RequestTimelineView
from headrace.dashboard.pages.requests import request as request_page
from headrace.testing.processes.control_api import ControlApi


def record(*phases: PhaseView, end: str = "finished") -> RequestTimelineView:
    return RequestTimelineView(
        record_id="r1",
        request_id="r1",
        service="openllm",
        arrived_at=datetime(2026, 1, 1, tzinfo=UTC),
        method="POST",
        path="/v1/chat/completions",
        status=200,
        end=end,
        error_code=None,
        revision=1,
        replica_id="a",
        key=None,
        model=None,
        total_s=10.0,
        queued_s=0.0,
        ttft_s=2.0,
        is_stream=True,
        num_chunks=8,
        mean_gap_s=0.1,
        max_gap_s=0.2,
        prompt_tokens=None,
        completion_tokens=None,
        cached_tokens=None,
        num_retries=0,
        attempts=[],
        timeline=list(phases),
    )


def phase(name: str, begin_s: float, end_s: float, outcome: str | None = None) -> PhaseView:
    return PhaseView(name=name, begin_s=begin_s, end_s=end_s, replica_id="a", outcome=outcome)


def test_phases_fill_the_width_in_proportion_to_their_length(
    viewer: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = record(
        phase("queue", 0.0, 0.0001),
        phase("first_byte", 0.0001, 2.0),
        phase("response", 2.0, 10.0, "cut"),
        end="cut",
    )

    async def read(record_id: str, context: object) -> RequestTimelineView:
        assert record_id == "r1"
        return cut

    monkeypatch.setattr(request_page.api, "read_request", read)
    page = viewer.get("/dashboard/requests/r1").text
    assert 'x="0.0%" width="0.4%"' in page  # as narrow as can be seen
    assert 'x="0.0%" width="20.0%"' in page
    assert 'x="20.0%" width="80.0%"' in page
    assert "the stream was cut" in page
    assert "unknown: the response has no usage" in page


def test_without_a_gateway_the_list_says_so(viewer: TestClient) -> None:
    page = viewer.get("/dashboard/requests")
    assert page.status_code == 200
    assert "The gateway does not respond." in page.text
    assert viewer.get("/dashboard/requests/r1").status_code == 503


@pytest.mark.parametrize(
    "query", ["revision=x", "revision=0", "revision=99999999999", "status=abc",
              "min_duration_s=x", "min_duration_s=nan", "min_duration_s=-1"],
)  # fmt: skip
def test_invalid_filters_are_refused(viewer: TestClient, query: str) -> None:
    assert viewer.get(f"/dashboard/requests?{query}").status_code == 422


def test_filters_are_kept_in_the_addresses(api: ControlApi, viewer: TestClient) -> None:
    api.browser(api.admin_token).post("/dashboard/services", data={"name": "openllm"})
    query = "service=openllm&revision=2&key=ci&status=5xx&min_duration_s=0.5"
    page = viewer.get(f"/dashboard/requests?{query}").text
    assert "/dashboard/requests/live/table?" + query.replace("&", "&amp;") in page
    empty = viewer.get("/dashboard/requests?service=&revision=&key=&status=&min_duration_s=").text
    assert 'data-live="/dashboard/requests/live/table"' in empty
