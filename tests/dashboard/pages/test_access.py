"""Keys, secrets and tokens, without a browser."""

import re

import pytest
from starlette.testclient import TestClient

from headrace.control.operations.keys import create_key, list_keys
from headrace.control.operations.runs import create_run
from headrace.control.operations.secrets import list_secrets, put_secret, read_secrets
from headrace.control.operations.services import create_service
from headrace.control.operations.tokens import find_token, list_tokens
from headrace.control.resources import Role
from headrace.testing.processes.control_api import ControlApi

SECRET = "a-secret-value"


@pytest.fixture(autouse=True)
def service(api: ControlApi) -> None:
    create_service(api.store, "openllm", api.context.now())


def test_a_new_key_is_shown_once_and_revoked(api: ControlApi, admin: TestClient) -> None:
    response = admin.post("/dashboard/access/keys", data={"service": "openllm", "name": "ci"})
    [secret] = set(re.findall(r"hrk_[0-9a-f]{64}", response.text))
    assert response.headers["cache-control"] == "no-store"
    page = admin.get("/dashboard/access/keys").text
    assert secret not in page
    assert secret[:8] in page
    assert api.num_wakes == 1
    admin.post("/dashboard/access/keys/openllm/ci/revoke")
    assert list_keys(api.store, "openllm") == []
    assert api.num_wakes == 2


@pytest.mark.parametrize(
    ("fields", "status", "reason"),
    [
        ({"service": "openllm", "name": "a b"}, 422, "a b"),
        ({"service": "other", "name": "ci"}, 422, "other"),
        ({"service": "openllm", "name": "taken"}, 409, "taken"),
    ],
)
def test_the_reason_why_a_key_cannot_be_created_is_shown(
    api: ControlApi, admin: TestClient, fields: dict[str, str], status: int, reason: str
) -> None:
    create_key(api.store, "openllm", "taken", api.context.now())
    response = admin.post("/dashboard/access/keys", data=fields)
    assert response.status_code == status
    assert 'role="alert"' in response.text
    assert reason in response.text
    assert f'value="{fields["name"]}"' in response.text
    assert len(list_keys(api.store, "openllm")) == 1


def test_a_secret_is_stored_replaced_and_deleted_and_never_shown(
    api: ControlApi, admin: TestClient
) -> None:
    for value in ("first", f"{SECRET}\nof two lines"):
        response = admin.post("/dashboard/access/secrets", data={"name": "HF", "value": value})
        assert "Stored secret HF." in response.text
        assert value not in response.text
    assert read_secrets(api.store, api.context.vault, ["HF"]) == {"HF": f"{SECRET}\nof two lines"}
    assert SECRET not in admin.get("/dashboard/access/secrets").text
    admin.post("/dashboard/access/secrets/HF/delete")
    assert list_secrets(api.store) == []


def test_an_invalid_secret_is_refused_without_its_value(admin: TestClient) -> None:
    fields = {"name": "not valid", "value": SECRET}
    response = admin.post("/dashboard/access/secrets", data=fields)
    assert response.status_code == 422
    assert 'value="not valid"' in response.text
    assert SECRET not in response.text


def test_a_secret_in_use_is_not_deleted(api: ControlApi, admin: TestClient) -> None:
    put_secret(api.store, api.context.vault, "HF", SECRET, api.context.now())
    manifest = "run: echo\nenv: {HF: {secret: HF}}\n"
    create_run(api.store, manifest, "run.yaml", api.context.now())
    response = admin.post("/dashboard/access/secrets/HF/delete")
    assert response.status_code == 409
    assert "in use by run" in response.text


def test_a_new_token_is_shown_once_and_revoked(api: ControlApi, admin: TestClient) -> None:
    fields = {"name": "ci", "role": "viewer"}
    response = admin.post("/dashboard/access/tokens", data=fields)
    [secret] = set(re.findall(r"hrt_[0-9a-f]{64}", response.text))
    token = find_token(api.store, secret)
    assert token is not None
    assert token.role is Role.VIEWER
    assert secret not in admin.get("/dashboard/access/tokens").text
    browser = api.browser(secret)
    admin.post("/dashboard/access/tokens/ci/revoke")
    assert find_token(api.store, secret) is None
    assert browser.get("/dashboard/services").url.path == "/dashboard/sign-in"


def test_the_last_administrators_token_is_not_revoked(api: ControlApi, admin: TestClient) -> None:
    response = admin.post("/dashboard/access/tokens/admin/revoke")
    assert response.status_code == 409
    assert "last admin token" in response.text
    fields = {"name": "ci", "role": "owner"}
    assert admin.post("/dashboard/access/tokens", data=fields).status_code == 422
    assert len(list_tokens(api.store)) == 2


def test_a_viewer_reads_keys_and_secrets_and_no_tokens(api: ControlApi, viewer: TestClient) -> None:
    create_key(api.store, "openllm", "ci", api.context.now())
    page = viewer.get("/dashboard/access").text
    assert "ci" in page
    assert "Create key" not in page
    assert "/revoke" not in page
    assert "/dashboard/access/tokens" not in page
    assert "Store secret" not in viewer.get("/dashboard/access/secrets").text
    assert viewer.get("/dashboard/access/tokens").status_code == 403
    for path in ("keys", "keys/openllm/ci/revoke", "secrets", "tokens", "tokens/admin/revoke"):
        assert viewer.post(f"/dashboard/access/{path}").status_code == 403
