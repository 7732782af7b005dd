"""What holds for every route: who is let in, what errors look like, and what is documented."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from headrace.control.errors import StoreError
from headrace.listen.origins import OriginPolicy
from headrace.testing.processes.control_api import ControlApi

OPEN_PATHS = {"/health", "/metrics"}
NUM_ROUTES = 36
VIEWERS_POSTS = {"/v1/dashboard/links"}


def routes_of(app: FastAPI) -> list[tuple[str, str]]:
    """Method and path of each route that is documented, with something in each parameter."""
    filled = {"service": "svc", "number": "1", "replica_id": "r", "name": "n", "run_id": "1",
              "kind": "run", "record_id": "r"}  # fmt: skip
    return sorted(
        (method.upper(), path.format(**filled))
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    )


def test_every_route_but_health_and_metrics_wants_a_token(api: ControlApi) -> None:
    found = [route for route in routes_of(api.app) if route[1] not in OPEN_PATHS]
    assert len(found) == NUM_ROUTES
    for client in (api.client(None), api.client("hrt_wrong")):
        for method, path in found:
            answer = client.request(method, path)
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "headrace token create" in answer.json()["error"]["message"]
        assert client.get("/health").json() == {"status": "ok"}


def test_other_ways_to_send_a_token_are_no_way(api: ControlApi) -> None:
    stranger = api.client(None)
    token = api.admin_token
    for headers in ({"Authorization": token}, {"Authorization": f"Basic {token}"},
                    {"X-API-Key": token}):  # fmt: skip
        assert stranger.get("/v1/services", headers=headers).status_code == 401
    assert stranger.get("/v1/services", params={"token": token}).status_code == 401


def test_a_viewer_changes_nothing(api: ControlApi, admin: TestClient) -> None:
    admin.post("/v1/services", json={"name": "svc"})
    viewer = api.client(api.viewer_token)
    num_wakes = api.num_wakes
    for method, path in routes_of(api.app):
        answer = viewer.request(method, path, json={})
        if path in VIEWERS_POSTS:
            assert answer.status_code == 201
        elif method != "GET" or path == "/v1/tokens":
            assert answer.status_code == 403, (method, path)
        else:
            expected = (503,) if path.startswith("/v1/requests") else (200, 404)  # no gateway
            assert answer.status_code in expected, (method, path)
    assert api.num_wakes == num_wakes
    assert len(viewer.get("/v1/services").json()) == 1


def test_a_token_that_was_deleted_opens_nothing(api: ControlApi, admin: TestClient) -> None:
    assert admin.delete("/v1/tokens/viewer").status_code == 204
    assert api.client(api.viewer_token).get("/v1/services").status_code == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8090", 200),
        ("localhost", 200),
        ("LOCALHOST:8090", 200),
        ("[::1]:8090", 200),
        ("[::1]", 200),
        ("openllm.localhost:8090", 200),
        ("evil.example", 421),
        ("evil.example:8090", 421),
        ("localhost.evil.example:8090", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
    ],
)
def test_a_page_of_another_host_gets_nothing(admin: TestClient, host: str, status: int) -> None:
    for path in ("/v1/services", "/health", "/openapi.json"):
        answer = admin.get(path, headers={"Host": host})
        assert answer.status_code == status
        if status == 421:
            assert answer.json()["error"]["code"] == 421


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:8090", 200),
        ("http://localhost:3000", 200),
        ("https://evil.example", 403),
        ("http://localhost.evil.example", 403),
        ("null", 403),
    ],
)
def test_a_page_of_another_origin_gets_nothing(admin: TestClient, origin: str, status: int) -> None:
    for method, path in (("GET", "/v1/services"), ("GET", "/health"), ("OPTIONS", "/v1/services")):
        answer = admin.request(method, path, headers={"Origin": origin})
        assert (answer.status_code == 403) == (status == 403)
        if status == 403:
            assert answer.json()["error"]["code"] == 403


def test_the_operator_may_add_hosts_and_origins(tmp_path: Path) -> None:
    origins = OriginPolicy(("box.example",), ("https://console.example",))
    api = ControlApi(tmp_path, origins=origins)
    try:
        admin = api.client(api.admin_token)
        for headers, status in (
            ({"Host": "box.example:8090"}, 200),
            ({"Host": "box.example:8090", "Origin": "https://box.example:8090"}, 200),
            ({"Origin": "https://console.example"}, 200),
            ({"Origin": "https://other.example"}, 403),
            ({"Host": "other.example"}, 421),
        ):
            assert admin.get("/v1/services", headers=headers).status_code == status
    finally:
        api.close()


@pytest.mark.parametrize(
    ("method", "path", "status", "told"),
    [
        ("GET", "/v1/services/nope", 404, "Service 'nope' not found"),
        ("GET", "/v1/services/svc/revisions/9", 404, "Revision 9 of service"),
        ("GET", "/v1/services/svc/replicas/x", 404, "Replica 'x'"),
        ("GET", "/v1/services/svc/replicas/x/log", 404, "Replica 'x'"),
        ("GET", "/v1/runs/9", 404, "Run '9' not found"),
        ("GET", "/v1/runs/9/log", 404, "Run '9' not found"),
        ("GET", "/v1/schemas/other", 422, "path.kind: "),
        ("GET", "/v1/nothing", 404, "Not Found"),
        ("PUT", "/v1/services", 405, "Method Not Allowed"),
        ("DELETE", "/v1/secrets/nope", 404, "Secret 'nope' not found"),
        ("DELETE", "/v1/tokens/nope", 404, "Token 'nope' not found"),
        ("DELETE", "/v1/services/svc/keys/nope", 404, "Key 'nope'"),
        ("GET", "/v1/services/svc/revisions/one", 422, "path.number: "),
        ("GET", "/v1/services/svc/revisions/0", 422, "path.number: "),
        ("GET", "/v1/services/svc/revisions/99999999999999999999", 422, "path.number: "),
        ("GET", "/v1/events?after=99999999999999999999", 422, "query.after: "),
        ("GET", "/v1/events?limit=0", 422, "query.limit: "),
        ("GET", "/v1/runs/9/log?lines=-1", 422, "query.lines: "),
    ],
)
def test_errors_are_one_shape(
    admin: TestClient, method: str, path: str, status: int, told: str
) -> None:
    admin.post("/v1/services", json={"name": "svc"})
    answer = admin.request(method, path)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["code"] == status
    assert (error["type"] == "not_found") is (status == 404)
    assert told in error["message"]


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("/v1/services", {}, "body.name: Field required"),
        ("/v1/services", {"name": "svc", "nmae": "x"}, "body.nmae: "),
        ("/v1/services", [], "body: "),
        ("/v1/services", {"name": "No Name"}, "not a valid service name"),
        ("/v1/tokens", {"name": "x", "role": "root"}, "'admin' or 'viewer'"),
        ("/v1/tokens", {"name": "a b"}, "not a valid name for a token"),
    ],
)
def test_bad_bodies_are_told_apart(admin: TestClient, path: str, body: Any, told: str) -> None:
    answer = admin.post(path, json=body)
    assert answer.status_code == 422
    assert told in answer.json()["error"]["message"]


def test_a_body_that_is_no_json_is_not_quoted(admin: TestClient) -> None:
    answer = admin.put("/v1/secrets/hub", content=b'{"value": sesame}')
    assert answer.status_code == 422
    assert "sesame" not in answer.text
    answer = admin.put("/v1/secrets/hub", json={"value": ["sesame"]})
    assert answer.status_code == 422
    assert "sesame" not in answer.text


def test_a_surprise_says_nothing_of_its_inside(
    api: ControlApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ValueError("inside")

    monkeypatch.setattr(type(api.context), "now", lambda self: fail())
    answer = api.client(api.admin_token).post("/v1/services", json={"name": "svc"})
    assert answer.status_code == 500
    assert "inside" not in answer.text
    assert "log" in answer.json()["error"]["message"]


def test_a_database_that_is_away_is_503(
    api: ControlApi, admin: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreError("The database cannot be used.")

    monkeypatch.setattr(type(api.store), "read", fail)
    answer = admin.get("/v1/services")
    assert answer.status_code == 503
    assert answer.json() == {
        "error": {
            "message": "The database cannot be used.",
            "type": "store_unavailable",
            "code": 503,
        }
    }


def test_the_document_names_every_route(api: ControlApi, admin: TestClient) -> None:
    document = admin.get("/openapi.json").json()
    json.dumps(document)
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["description"], (method, path)
            assert ("security" in operation) == (path not in OPEN_PATHS), (method, path)
    manifest = document["paths"]["/v1/services/{service}/revisions"]["post"]["requestBody"]
    assert list(manifest["content"]) == ["application/yaml"]
    ids = [one["operationId"] for methods in document["paths"].values() for one in methods.values()]
    assert len(ids) == len(set(ids)) == NUM_ROUTES + len(OPEN_PATHS)


def test_each_schema_is_served(admin: TestClient) -> None:
    for kind in ("revision", "gateway", "run"):
        assert "properties" in admin.get(f"/v1/schemas/{kind}").json()
