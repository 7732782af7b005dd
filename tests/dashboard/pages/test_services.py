import re

from starlette.testclient import TestClient

from headrace.control.history.revision_sample import RevisionSample
from headrace.control.resources import Event, EventReason, RevisionKey
from headrace.testing.example_services import add_example_service
from headrace.testing.processes.control_api import ControlApi


def test_a_service_is_created_and_deleted(api: ControlApi, admin: TestClient) -> None:
    response = admin.post("/dashboard/services", data={"name": " openllm "})
    assert "Created service openllm." in response.text
    assert "Created service openllm." not in admin.get("/dashboard/services").text
    assert "openllm" in admin.get("/dashboard/services").text
    response = admin.post("/dashboard/services/openllm/delete")
    assert "Deleted service openllm." in response.text
    assert "There are no services yet." in response.text


def test_an_invalid_name_is_shown_with_its_reason(admin: TestClient) -> None:
    response = admin.post("/dashboard/services", data={"name": "<Open LLM>"})
    assert response.status_code == 422
    assert "Try &#39;open-llm&#39;" in response.text
    assert 'value="&lt;Open LLM&gt;"' in response.text


def test_a_replica_and_a_revision_show_their_events(api: ControlApi, admin: TestClient) -> None:
    add_example_service(api.store, "openllm", api.context.now())
    with api.store.read() as queries:
        replica = queries.replicas("openllm", 3, live_only=True)[0]
    for subject, why in (
        (f"replica {replica.replica_id}", "Started on port 45003."),
        ("revision openllm/3", "Queue time 2.1 s, target 1 s."),
        ("revision openllm/2", "Of another revision."),
    ):
        with api.store.begin() as tx:
            now = api.context.now()
            tx.add_event(Event(now, subject, EventReason.SCALED, why, service="openllm"))
    page = admin.get(f"/dashboard/services/openllm/replicas/{replica.replica_id}").text
    assert "Started on port 45003." in page
    assert "Queue time" not in page
    page = admin.get("/dashboard/services/openllm/revisions/3").text
    assert "Queue time 2.1 s, target 1 s." in page
    assert "Of another revision." not in page


def test_secrets_of_a_revision_are_masked(api: ControlApi, admin: TestClient) -> None:
    admin.post("/dashboard/services", data={"name": "openllm"})
    manifest = "run: serve\nenv: {API_TOKEN: hidden-value, LOG_LEVEL: debug}\n"
    response = admin.post("/dashboard/services/openllm/revisions", data={"manifest": manifest})
    assert "Created revision 1." in response.text
    assert "LOG_LEVEL: debug" in response.text
    assert "hidden-value" not in response.text


def test_the_load_of_a_service_is_that_of_its_revisions(api: ControlApi, admin: TestClient) -> None:
    add_example_service(api.store, "openllm", api.context.now())
    api.current.replace(
        {
            RevisionKey("openllm", 2): RevisionSample(requests_per_s=1.5, ttft_p95_s=0.5),
            RevisionKey("openllm", 3): RevisionSample(requests_per_s=2.0, ttft_p95_s=0.25),
        },
        {},
    )
    cells = re.findall(r'<td class="number">(.*?)</td>', admin.get("/dashboard/services").text)
    assert cells[:4] == ["3.5", "—", "0.5 s", "2 of 2"]


def test_listings_come_page_by_page(api: ControlApi, admin: TestClient) -> None:
    add_example_service(api.store, "openllm", api.context.now(), num_revisions=60, num_events=60)
    for tab, first, last in (
        ("revisions", "version 60<", "version 10<"),
        ("events", "75% to revision 60", "Queue time"),
    ):
        newest = admin.get(f"/dashboard/services/openllm/{tab}")
        assert first in newest.text
        older = re.search(
            rf'href="(/dashboard/services/openllm/{tab}\?before=\d+)">Older', newest.text
        )
        assert older is not None
        page = admin.get(older[1])
        assert first not in page.text
        assert last in page.text
        assert "data-live" not in page.text


def test_pages_of_an_unknown_service_are_not_found(admin: TestClient) -> None:
    for path in ("", "/metrics", "/metrics/data", "/revisions", "/revisions/new", "/revisions/1",
                 "/replicas", "/replicas/x", "/replicas/x/log", "/traffic", "/events"):  # fmt: skip
        response = admin.get(f"/dashboard/services/nope{path}")
        assert response.status_code == 404, path
        assert "Service &#39;nope&#39; not found" in response.text or "Replica" in response.text
