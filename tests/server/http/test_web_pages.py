"""Requests of web pages: Host and Origin checks, CORS."""

import json
import socket
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import Answer, request

StartServer = Callable[..., ServerProcess]

COMPLETION = json.dumps({"model": "parrot", "prompt": "abc", "max_tokens": 2})
ROUTES = (
    *("/", "/health", "/version", "/metrics", "/openapi.json", "/v1/models", "/v1/models/parrot"),
    "/nonsense",
)
FOREIGN = "https://page.example"
PARROT = ("parrot", "--served-model-name", "parrot")


@pytest.fixture(scope="module")
def with_key(fake_command: tuple[str, ...]) -> Iterator[ServerProcess]:
    arguments = (*PARROT, "--api-key", "key")
    with ServerProcess(*arguments, command=fake_command, start_timeout_s=120.0) as process:
        yield process


@pytest.fixture(scope="module")
def with_origins(fake_command: tuple[str, ...]) -> Iterator[ServerProcess]:
    arguments = (
        *(*PARROT, "--allowed-hosts", "*.example.com", "--allow-credentials"),
        *("--allowed-origins", '["https://page.example", "https://other.example:8443"]'),
        *("--allowed-methods", "POST", "--allowed-headers", '["X-Mine"]'),
    )
    with ServerProcess(*arguments, command=fake_command, start_timeout_s=120.0) as process:
        yield process


def preflight(server: ServerProcess, origin: str, **headers: str) -> Answer:
    asked = {"Access_Control_Request_Method": "POST", **headers}
    return request(server.url, "OPTIONS", "/v1/chat/completions", Origin=origin, **asked)


@pytest.mark.parametrize("path", ROUTES)
def test_dns_rebinding_is_refused(server: ServerProcess, path: str) -> None:
    for host in ("page.example", "page.example:8000", "127.0.0.1.page.example", "0.0.0.0", ""):
        response = request(server.url, "GET", path, Host=host)
        assert response.status == 421
        assert response.error["code"] == "host_not_allowed"
        assert "x-request-id" in response.headers


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "localhost:1", "[::1]:80", "parrot.localhost", "127.8.8.8"]
)
def test_loopback_hosts_are_accepted(server: ServerProcess, host: str) -> None:
    assert request(server.url, "GET", "/v1/models", Host=host).status == 200


def test_a_request_without_a_host_is_accepted(server: ServerProcess) -> None:
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=60.0) as connection:
        connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        assert connection.makefile("rb").readline().split()[1] == b"200"


@pytest.mark.parametrize("path", ROUTES)
def test_a_foreign_origin_is_refused(server: ServerProcess, path: str) -> None:
    for origin in (FOREIGN, "null", "http://127.0.0.1.page.example", "garbage"):
        response = request(server.url, "GET", path, Origin=origin)
        assert response.status == 403
        assert response.error["code"] == "origin_not_allowed"
        assert "access-control-allow-origin" not in response.headers


def test_a_foreign_origin_starts_no_generation(server: ServerProcess) -> None:
    response = request(
        server.url,
        "POST",
        "/v1/completions",
        COMPLETION,
        Origin=FOREIGN,
        Content_Type="application/json",
    )
    assert response.status == 403
    refused = preflight(server, FOREIGN)
    assert refused.status == 400
    assert refused.error["code"] == "cors_not_allowed"
    assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize("origin", ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:5"])
def test_a_page_on_loopback_may_read_responses(server: ServerProcess, origin: str) -> None:
    asked = preflight(server, origin, Access_Control_Request_Headers="content-type, x-stainless-os")
    assert asked.status == 200
    assert asked.headers["access-control-allow-origin"] == origin
    assert "x-stainless-os" in asked.headers["access-control-allow-headers"]
    response = request(
        server.url,
        "POST",
        "/v1/completions",
        COMPLETION,
        Origin=origin,
        Content_Type="application/json",
    )
    assert response.status == 200
    assert response.headers["access-control-allow-origin"] == origin
    assert "X-Request-Id" in response.headers["access-control-expose-headers"]
    assert "origin" in response.headers["vary"].lower()


def test_with_keys_any_origin_is_allowed_under_v1(with_key: ServerProcess) -> None:
    asked = preflight(with_key, FOREIGN, Access_Control_Request_Headers="authorization")
    assert asked.status == 200
    assert asked.headers["access-control-allow-origin"] == "*"
    assert "authorization" in asked.headers["access-control-allow-headers"]
    refused = request(with_key.url, "GET", "/v1/models", Origin=FOREIGN)
    assert refused.status == 401
    assert refused.headers["access-control-allow-origin"] == "*"
    response = request(
        with_key.url, "GET", "/v1/models", Origin=FOREIGN, Authorization="Bearer key"
    )
    assert response.status == 200
    assert response.headers["access-control-allow-origin"] == "*"


def test_open_routes_are_not_readable_from_foreign_origins(with_key: ServerProcess) -> None:
    for path in ("/metrics", "/version", "/openapi.json", "/"):
        response = request(with_key.url, "GET", path, Origin=FOREIGN)
        assert "access-control-allow-origin" not in response.headers
        near = "http://localhost:3000"
        response = request(with_key.url, "GET", path, Origin=near)
        assert response.headers["access-control-allow-origin"] == near


def test_with_keys_any_host_is_accepted(with_key: ServerProcess) -> None:
    response = request(
        with_key.url, "GET", "/v1/models", Host="page.example", Authorization="Bearer key"
    )
    assert response.status == 200


def test_options_without_a_preflight_needs_the_key(with_key: ServerProcess) -> None:
    assert request(with_key.url, "OPTIONS", "/v1/models").status == 401
    asked = request(with_key.url, "OPTIONS", "/v1/models", Authorization="Bearer key")
    assert asked.status == 405
    assert "GET" in asked.headers["allow"]


def test_allowed_origins_and_hosts(with_origins: ServerProcess) -> None:
    for origin in ("https://page.example", "https://other.example:8443", "http://api.example.com"):
        response = request(with_origins.url, "GET", "/v1/models", Origin=origin)
        assert response.status == 200
        assert response.headers["access-control-allow-origin"] == origin
        assert response.headers["access-control-allow-credentials"] == "true"
    for origin in ("https://page.example:1", "http://page.example", "https://example.com"):
        assert request(with_origins.url, "GET", "/v1/models", Origin=origin).status == 403
    assert request(with_origins.url, "GET", "/v1/models", Host="api.example.com").status == 200
    assert request(with_origins.url, "GET", "/v1/models", Host="example.com").status == 421


def test_allowed_methods_and_headers(with_origins: ServerProcess) -> None:
    allowed = preflight(with_origins, FOREIGN, Access_Control_Request_Headers="x-mine")
    assert allowed.status == 200
    assert preflight(with_origins, FOREIGN, Access_Control_Request_Headers="x-y").status == 400
    assert preflight(with_origins, FOREIGN, Access_Control_Request_Method="GET").status == 400


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        (404, {"path": "/nonsense"}),
        (405, {"method": "GET"}),
        (400, {"body": "{"}),
        (415, {"Content_Type": "text/plain"}),
        (421, {"Host": "elsewhere.example"}),
    ],
)
def test_errors_have_cors_headers(
    with_origins: ServerProcess, status: int, sent: dict[str, str]
) -> None:
    headers = {"Content_Type": "application/json", "Origin": FOREIGN, **sent}
    method, path = headers.pop("method", "POST"), headers.pop("path", "/v1/completions")
    body = headers.pop("body", COMPLETION)
    response = request(with_origins.url, method, path, body, **headers)
    assert response.status == status
    assert response.headers["access-control-allow-origin"] == FOREIGN
    assert response.error["code"]
    assert "x-request-id" in response.headers


def test_internal_errors_have_cors_headers(start_server: StartServer) -> None:
    server = start_server("parrot?step_s=0.01&fail_at_step=2", *PARROT[1:])
    body = json.dumps({"model": "parrot", "prompt": "abc", "max_tokens": 100})
    origin = "http://localhost:3000"
    response = request(
        server.url, "POST", "/v1/completions", body, Origin=origin, Content_Type="application/json"
    )
    assert response.status == 500
    assert response.headers["access-control-allow-origin"] == origin
    assert "x-request-id" in response.headers


def test_beyond_loopback_any_host_is_accepted_with_a_warning(
    start_server: StartServer,
) -> None:
    server = start_server(*PARROT, "--host", "0.0.0.0")
    assert request(server.url, "GET", "/v1/models", Host="gpu-box.example").status == 200
    assert request(server.url, "GET", "/v1/models", Origin=FOREIGN).status == 200
    assert preflight(server, FOREIGN).status == 400
    assert server.output.count("WARNING") == 1
    assert "HEADRACE_API_KEY" in server.output
    with_key = start_server(*PARROT, "--host", "0.0.0.0", "--api-key", "key")
    assert "WARNING" not in with_key.output
