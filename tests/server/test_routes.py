"""Every row of the table of endpoints is served, and needs a key unless it is open."""

from collections.abc import Callable, Iterator, Mapping

import pytest
from pydantic import BaseModel

from headrace.server.api.schemas.pooling.requests import (
    ClassificationRequest,
    EmbeddingRequest,
    PoolingBody,
    RerankRequest,
    ScoreRequest,
)
from headrace.server.endpoint import Endpoint
from headrace.server.routes import ENDPOINTS
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import Answer, post, request

POOLING_BODIES: Mapping[type[BaseModel], Mapping[str, object]] = {
    EmbeddingRequest: {"input": "a"},
    ClassificationRequest: {"input": "a"},
    ScoreRequest: {"text_1": "a", "text_2": "b"},
    RerankRequest: {"query": "a", "documents": ["b"]},
}
StartServer = Callable[..., ServerProcess]
CALLS = [(each, method) for each in ENDPOINTS for method in each.methods]
calls = pytest.mark.parametrize(
    ("endpoint", "method"), CALLS, ids=[f"{method} {each.path}" for each, method in CALLS]
)


@pytest.fixture(scope="module")
def with_key(fake_command: tuple[str, ...]) -> Iterator[ServerProcess]:
    """A server with a key, and with the endpoints that are off by default."""
    arguments = (
        *("parrot", "--served-model-name", "org/parrot", "--enable-tokenizer-info-endpoint"),
        *("--root-path", "/llm/one", "--enable-lora", "--allow-runtime-lora-updating"),
    )
    environment = {"HEADRACE_API_KEY": "sesame"}
    with ServerProcess(*arguments, command=fake_command, env=environment) as process:
        yield process


def call(server: ServerProcess, path: str, method: str, **headers: str) -> Answer:
    """A request whose body, if it needs one, lacks a field."""
    if method == "POST":
        return post(server.url, path, {}, **headers)
    return request(server.url, method, path, **headers)


def path_of(endpoint: Endpoint) -> str:
    return endpoint.openapi_path.replace("{model_id}", "org/parrot")


@calls
def test_an_endpoint_needs_the_key_unless_it_is_open(
    with_key: ServerProcess, endpoint: Endpoint, method: str
) -> None:
    status = 400 if endpoint.requests else 200
    if "response_id" in endpoint.path:
        status = 404  # there is no such response
    path = path_of(endpoint)
    for spelling in (path, f"{path.rstrip('/')}/", f"/llm/one{path}"):
        without = call(with_key, spelling, method)
        assert without.status == (status if endpoint.is_open else 401)
        with_it = call(with_key, spelling, method, Authorization="Bearer sesame")
        assert with_it.status == status


@pytest.mark.parametrize(
    "path",
    ["/nonsense", "/Health", "//health", "/health/x", "/v1", "/llm/one/v1/models", "/docs/../x"],
)
def test_any_other_path_needs_the_key(with_key: ServerProcess, path: str) -> None:
    assert request(with_key.url, "GET", path).status == 401


@calls
def test_unknown_fields_of_a_body_are_refused(
    with_key: ServerProcess, endpoint: Endpoint, method: str
) -> None:
    if not endpoint.requests:
        return
    key = {"Authorization": "Bearer sesame"}
    body: dict[str, object] = {"prompt": "a", "tokens": [1], "something_new": 1}
    gives_vectors = issubclass(endpoint.requests[0], PoolingBody)
    if gives_vectors:
        body = {**POOLING_BODIES[endpoint.requests[0]], "something_new": 1}
    elif "lora" in endpoint.path:
        path = {"lora_path": "/nonexistent"} if "unload" not in endpoint.path else {}
        body = {"lora_name": "a", **path, "something_new": 1}
    elif "batch" in endpoint.path:
        body = {"messages": [[{"role": "user", "content": "a"}]], "something_new": 1}
    elif "chat" in endpoint.path:
        body = {"messages": [{"role": "user", "content": "a"}], "something_new": 1}
    elif endpoint.path == "/v1/responses":
        body = {"input": "a", "something_new": 1}
    elif endpoint.path.startswith("/v1/messages"):
        body = {"messages": [{"role": "user", "content": "a"}], "something_new": 1}
        if not endpoint.path.endswith("count_tokens"):
            body["max_tokens"] = 4
    elif endpoint.path == "/detokenize":
        del body["prompt"]
    else:
        del body["tokens"]
    refused = post(with_key.url, endpoint.path, body, **key)
    assert refused.status == 400
    assert refused.error["code"] == "unknown_parameter"
    assert refused.error["param"] == "something_new"
    del body["something_new"]
    answer = post(with_key.url, endpoint.path, body, **key)
    if gives_vectors:
        assert answer.error["code"] == "task_not_supported"
    elif "lora" in endpoint.path:
        assert answer.error["code"] in ("invalid_adapter", "model_not_found")
    else:
        assert answer.status == 200


def test_endpoints_that_are_off_are_not_there(
    server: ServerProcess, start_server: StartServer
) -> None:
    assert request(server.url, "GET", "/tokenizer_info").status == 404
    quiet = start_server("parrot", "--disable-fastapi-docs", "--no-enable-request-id-headers")
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert request(server.url, "GET", path).status == 200
        assert request(quiet.url, "GET", path).status == 404
    sent = {"X_Request_Id": "mine"}
    assert request(server.url, "GET", "/health", **sent).headers["x-request-id"] == "mine"
    assert "x-request-id" not in request(quiet.url, "GET", "/health", **sent).headers


def test_a_root_path_is_in_the_description(with_key: ServerProcess) -> None:
    document = request(with_key.url, "GET", "/llm/one/openapi.json").json
    assert document["servers"] == [{"url": "/llm/one"}]
    assert b'href="/llm/one/openapi.json"' in request(with_key.url, "GET", "/docs").body
    assert request(with_key.url, "GET", "/llm/one").json["api"] == "/v1"
    for path in ("/llm/oneself/health", "/llm/health", "/llm/one/llm/one/health"):
        assert request(with_key.url, "GET", path).status == 401


def test_the_page_is_complete_and_makes_no_requests_to_other_hosts(server: ServerProcess) -> None:
    answer = request(server.url, "GET", "/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    page = answer.body.decode()
    assert "<script" not in page
    assert "://" not in page
    assert "src=" not in page
    for endpoint in ENDPOINTS:
        is_on = endpoint.enabled_by in (None, "enable_docs")
        assert (f"<code>{endpoint.openapi_path}</code>" in page) == is_on
        for model in endpoint.requests:
            assert page.count(f'id="{model.__name__}"') == is_on
    assert request(server.url, "GET", "/redoc").body == answer.body
