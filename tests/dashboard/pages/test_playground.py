"""The playground without a browser: what it refuses."""

import pytest
from starlette.testclient import TestClient

from headrace.testing.example_services import add_example_service
from headrace.testing.processes.control_api import ControlApi

CHAT = "/dashboard/playground/openllm/chat"
BODY = {"model": "m", "messages": [{"role": "user", "content": "a secret prompt"}]}


@pytest.fixture
def openllm(api: ControlApi) -> None:
    add_example_service(api.store, "openllm", api.context.now())


def test_without_services_the_page_says_so(admin: TestClient) -> None:
    assert "no service that accepts requests" in admin.get("/dashboard/playground").text


@pytest.mark.usefixtures("openllm")
def test_the_page_names_the_model_of_the_manifest(admin: TestClient) -> None:
    page = admin.get("/dashboard/playground").text
    assert 'value="smollm2-135m"' in page
    assert 'data-endpoint="http://localhost:8080/openllm"' in page


@pytest.mark.usefixtures("openllm")
def test_only_administrators_with_the_csrf_token_may_chat(
    admin: TestClient, viewer: TestClient
) -> None:
    assert viewer.post(CHAT, json=BODY).status_code == 403
    del admin.headers["X-CSRF-Token"]
    assert admin.post(CHAT, json=BODY).status_code == 403


@pytest.mark.usefixtures("openllm")
def test_bodies_of_forms_are_refused(admin: TestClient) -> None:
    assert admin.post(CHAT, data={"model": "m"}).status_code == 415


def test_a_service_that_accepts_no_requests_is_a_conflict(admin: TestClient) -> None:
    admin.post("/dashboard/services", data={"name": "openllm"})
    assert admin.post(CHAT, json=BODY).status_code == 409
    page = admin.get("/dashboard/playground", params={"service": "openllm"})
    assert "does not accept requests" in page.text
    assert admin.post("/dashboard/playground/none/chat", json=BODY).status_code == 404


@pytest.mark.usefixtures("openllm")
def test_an_unreachable_gateway_is_an_error_without_the_prompt(
    api: ControlApi, admin: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    object.__setattr__(api.context.responses, "_gateway_url", "http://127.0.0.1:1")
    response = admin.post(CHAT, json=BODY)
    assert response.status_code == 502
    assert "secret prompt" not in response.text + caplog.text
