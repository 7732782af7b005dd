from starlette.testclient import TestClient

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
