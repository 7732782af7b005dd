from starlette.testclient import TestClient

from headrace.core.gateway.usage import UsageCounts, UsageKey
from headrace.testing.processes.control_api import ControlApi


def add(api: ControlApi, service: str, key: str, num_requests: int) -> None:
    day = api.context.now().date().isoformat()
    counts = UsageCounts(num_requests, 1, 1234 * num_requests, 10)
    with api.store.begin() as tx:
        tx.add_usage(day, {UsageKey(service, key, "m<1>"): counts})


def test_usage_is_shown_by_key_service_and_model(api: ControlApi, viewer: TestClient) -> None:
    add(api, "openllm", "ci", 2)
    add(api, "chat", "", 5)
    page = viewer.get("/dashboard/usage").text
    for heading in ("By API key", "By service", "By model", "Tokens by day"):
        assert heading in page
    assert "<dd>7</dd>" in page
    assert '<td class="number">6,170</td>' in page
    assert "m&lt;1&gt;" in page
    assert "(none)" in page


def test_usage_is_filtered(api: ControlApi, viewer: TestClient) -> None:
    add(api, "openllm", "ci", 2)
    add(api, "chat", "laptop", 5)
    page = viewer.get("/dashboard/usage?days=7&service=openllm&key=&model=").text
    assert "<dd>2</dd>" in page
    assert "laptop" not in page
    none = viewer.get("/dashboard/usage?key=other").text
    assert "There is no usage in this period." in none
    assert viewer.get("/dashboard/usage?days=8").status_code == 422
