"""/openapi.json describes the server as it is."""

from collections.abc import Callable, Iterator

import pytest

from headrace.server.api.schemas import responses as response_schemas
from headrace.server.http.auth import is_protected
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import post, request

StartServer = Callable[..., ServerProcess]

COMPLETION = {"model": "parrot", "prompt": "0123456789abcdef", "max_tokens": 4}
CHAT = {"model": "parrot", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}


def test_openapi_has_the_schemas_of_bodies(server: ServerProcess) -> None:
    document = request(server.url, "GET", "/openapi.json").json
    assert document["openapi"].startswith("3.")
    post_chat = document["paths"]["/v1/chat/completions"]["post"]
    body = post_chat["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    assert body == "#/components/schemas/ChatCompletionRequest"
    schemas = document["components"]["schemas"]
    assert {"messages", "max_completion_tokens", "temperature", "top_k"} <= set(
        schemas["ChatCompletionRequest"]["properties"]
    )
    for reference in _references(document):
        assert reference.removeprefix("#/components/schemas/") in schemas


def test_openapi_declares_authentication_where_it_is_required(
    server: ServerProcess, start_server: StartServer
) -> None:
    without = request(server.url, "GET", "/openapi.json").json
    assert "securitySchemes" not in without["components"]
    with_key = start_server("parrot", "--api-key", "key")
    document = request(with_key.url, "GET", "/openapi.json").json
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            protected = is_protected(path)
            assert ("security" in operation) == protected
            assert ("401" in operation["responses"]) == protected
            other = without["paths"][path][method]
            assert "security" not in other
            assert {"403", "421"} <= set(other["responses"])


def test_openapi_lists_every_status(server: ServerProcess) -> None:
    document = request(server.url, "GET", "/openapi.json").json
    for methods in document["paths"].values():
        for operation in methods.values():
            assert "default" not in operation["responses"]
            assert "500" in operation["responses"]
    for path in ("/v1/completions", "/v1/chat/completions"):
        statuses = {"200", "400", "404", "413", "415", "429", "500", "503"}
        assert statuses <= set(document["paths"][path]["post"]["responses"])


@pytest.mark.parametrize(
    ("status", "path", "body", "headers"),
    [
        (200, "/v1/completions", COMPLETION, {}),
        (200, "/v1/completions", {**COMPLETION, "stream": True}, {}),
        (200, "/v1/chat/completions", {**CHAT, "stream": True}, {}),
        (400, "/v1/completions", {"prompt": 1}, {}),
        (400, "/v1/chat/completions", [], {}),
        (403, "/v1/completions", COMPLETION, {"Origin": "http://page.example"}),
        (404, "/v1/chat/completions", {**CHAT, "model": "x"}, {}),
        (413, "/v1/completions", {"prompt": [1] * 600_000}, {}),
        (415, "/v1/completions", COMPLETION, {"Content_Type": "text/plain"}),
        (421, "/v1/completions", COMPLETION, {"Host": "page.example"}),
        (200, "/v1/models", None, {}),
        (200, "/v1/models/{model_id}", None, {}),
        (404, "/v1/models/{model_id}", None, {}),
        (421, "/health", None, {"Host": "page.example"}),
        (403, "/metrics", None, {"Origin": "http://page.example"}),
        (200, "/metrics", None, {}),
    ],
)
def test_every_response_is_documented(
    server: ServerProcess, status: int, path: str, body: object, headers: dict[str, str]
) -> None:
    document = request(server.url, "GET", "/openapi.json").json
    operation = document["paths"][path]["get" if body is None else "post"]
    url = path.replace("{model_id}", "parrot" if status == 200 else "x")
    if body is None:
        response = request(server.url, "GET", url, **headers)
    else:
        response = post(server.url, url, body, **headers)
    assert response.status == status
    media_type = response.headers["content-type"].partition(";")[0]
    assert media_type in operation["responses"][str(status)]["content"]
    if status != 200:
        response_schemas.ErrorResponse.model_validate(response.json)


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)
