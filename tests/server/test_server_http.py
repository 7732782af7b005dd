"""The server as plain HTTP sees it: what curl sends, headers, statuses, shapes."""

import gzip
import json
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator

import pytest

from headrace.server import replies
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import connect, post, request
from headrace.version import __version__

StartServer = Callable[..., ServerProcess]

COMPLETION = {"model": "parrot", "prompt": "0123456789abcdef", "max_tokens": 4}
CHAT = {"model": "parrot", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}

CURL_COMMANDS = [
    # As guides to other OpenAI servers have it, headers and all.
    """curl {url}/v1/completions -H "Content-Type: application/json" -d '{
    "model": "parrot",
    "prompt": "Singapore is a",
    "max_tokens": 64,
    "temperature": 0
    }'""",
    """curl {url}/v1/completions
                -H "Content-Type: application/json;api_key=vllm_apikey"
                -d '{
                  "model": "parrot",
                  "prompt": "San Francisco is a",
                  "max_tokens": 512,
                  "temperature": 0.9
                }'""",
    """curl {url}/v1/chat/completions
        -H "Content-Type: application/json;api_key=vllm_apikey"
        -d '{
                "model": "parrot",
                "messages": [
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": "Who won the world series in 2020?"}
                ]
        }'""",
]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("command", CURL_COMMANDS)
def test_curl_calls_work_as_they_are(server: ServerProcess, command: str) -> None:
    arguments = shlex.split(command.replace("{url}", server.url))
    done = subprocess.run([*arguments, "-sS", "--fail"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    reply = json.loads(done.stdout)
    assert reply["model"] == "parrot"
    assert reply["usage"]["completion_tokens"] > 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_without_a_header_sends_a_form_and_is_told_what_to_add(server: ServerProcess) -> None:
    arguments = ["curl", "-sS", f"{server.url}/v1/completions", "-d", json.dumps(COMPLETION)]
    done = subprocess.run(arguments, capture_output=True, check=True)
    assert "-H 'content-type: application/json'" in json.loads(done.stdout)["error"]["message"]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/json;api_key=vllm_apikey",
        "application/json;",
        "application/vnd.api+json",
        None,
    ],
)
def test_json_is_read_whatever_parameters_its_type_has(
    server: ServerProcess, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"Content_Type": content_type}
    answer = request(server.url, "POST", "/v1/completions", json.dumps(COMPLETION), **headers)
    assert answer.status == 200


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "text/plain;charset=UTF-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/json",
        "application/jsonp",
        "text/plain;application/json",
        "",
    ],
)
def test_another_content_type_is_refused(
    server: ServerProcess, path: str, content_type: str
) -> None:
    body = json.dumps({**COMPLETION, **CHAT})
    answer = request(server.url, "POST", path, body, Content_Type=content_type)
    assert answer.status == 415
    assert answer.error["code"] == "unsupported_content_type"


def test_a_page_must_name_the_type(server: ServerProcess) -> None:
    """A browser sends a Blob without a type to any server, and asks it nothing before."""
    origin = server.url
    body = json.dumps(COMPLETION)
    answer = request(server.url, "POST", "/v1/completions", body, Origin=origin)
    assert answer.status == 415
    answer = request(
        server.url, "POST", "/v1/completions", body, Origin=origin, Content_Type="application/json"
    )
    assert answer.status == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, identity", "x"])
def test_a_compressed_body_is_refused_by_the_name_of_its_encoding(
    server: ServerProcess, encoding: str
) -> None:
    body = gzip.compress(json.dumps(COMPLETION).encode())
    answer = request(server.url, "POST", "/v1/completions", body, Content_Encoding=encoding)
    assert answer.status == 415
    assert answer.error["code"] == "unsupported_content_encoding"
    assert encoding in answer.error["message"]
    plain = json.dumps(COMPLETION)
    answer = request(server.url, "POST", "/v1/completions", plain, Content_Encoding="identity")
    assert answer.status == 200


def test_a_slash_at_the_end_changes_nothing(server: ServerProcess) -> None:
    for path in ("/v1/models", "/health", "/version", "/metrics", "/openapi.json"):
        with_slash = request(server.url, "GET", f"{path}/")
        assert with_slash.status == 200
        assert (
            with_slash.headers["content-type"]
            == request(server.url, "GET", path).headers["content-type"]
        )
    assert request(server.url, "GET", "/v1/models/").json["object"] == "list"
    assert request(server.url, "GET", "/v1/models/polly/").json["id"] == "polly"
    assert request(server.url, "GET", "/v1/models/polly//").status == 404
    assert post(server.url, "/v1/completions/", COMPLETION).status == 200
    assert request(server.url, "GET", "/v1/completions/").status == 405
    assert request(server.url, "GET", "/nonsense/").status == 404


def test_replies_are_as_their_schemas_say(server: ServerProcess) -> None:
    logprobs = {"logprobs": True, "top_logprobs": 1, "return_token_ids": True}
    replies.Completion.model_validate(post(server.url, "/v1/completions", COMPLETION).json)
    replies.Completion.model_validate(
        post(server.url, "/v1/completions", {**COMPLETION, "logprobs": 1}).json
    )
    replies.ChatCompletion.model_validate(post(server.url, "/v1/chat/completions", CHAT).json)
    replies.ChatCompletion.model_validate(
        post(server.url, "/v1/chat/completions", {**CHAT, **logprobs}).json
    )
    replies.ModelList.model_validate(request(server.url, "GET", "/v1/models").json)


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}])
def test_a_stream_is_events_as_their_schemas_say(
    server: ServerProcess, options: dict[str, object]
) -> None:
    for path, body, schema in (
        ("/v1/completions", COMPLETION, replies.CompletionChunk),
        ("/v1/chat/completions", CHAT, replies.ChatCompletionChunk),
    ):
        answer = post(server.url, path, {**body, **options, "stream": True})
        assert answer.headers["content-type"].startswith("text/event-stream")
        *events, done, rest = answer.body.decode().split("\n\n")
        assert done == "data: [DONE]"
        assert rest == ""
        for event in events:
            assert event.startswith("data: {")
            schema.model_validate_json(event.removeprefix("data: "))


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"model": "parrot", "prompt": "\xff"}', b'{"prompt": "\\ud800"}', b"[]", b"3"],
)
def test_what_is_not_a_json_object_is_refused(server: ServerProcess, body: bytes) -> None:
    answer = request(server.url, "POST", "/v1/completions", body)
    assert answer.status == 400
    assert answer.error["code"] == "invalid_json"


def test_a_missing_field_is_named(server: ServerProcess) -> None:
    answer = post(server.url, "/v1/completions", {"model": "parrot"})
    assert answer.status == 400
    assert answer.error["param"] == "prompt"
    assert answer.error["code"] == "missing_required_parameter"


def test_an_unknown_path_is_not_found(server: ServerProcess) -> None:
    answer = request(server.url, "GET", "/v1/nonsense")
    assert answer.status == 404
    assert answer.error["code"] == "unknown_url"
    assert "/v1/nonsense" in answer.error["message"]


def test_a_wrong_method_is_told_the_right_one(server: ServerProcess) -> None:
    answer = request(server.url, "GET", "/v1/completions")
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"
    assert answer.error["code"] == "method_not_supported"


def test_the_clients_request_id_comes_back(server: ServerProcess) -> None:
    for path in ("/health", "/v1/nonsense"):
        answer = request(server.url, "GET", path, X_Request_Id="mine-1")
        assert answer.headers["x-request-id"] == "mine-1"
    without = request(server.url, "GET", "/health")
    assert len(without.headers["x-request-id"]) == 32
    unfit = request(server.url, "GET", "/health", X_Request_Id="a b")
    assert unfit.headers["x-request-id"] != "a b"


def test_a_request_id_may_be_used_twice_at_once(server: ServerProcess) -> None:
    for _ in range(2):
        answer = post(server.url, "/v1/completions", COMPLETION, X_Request_Id="again")
        assert answer.status == 200


def test_small_pages_answer(server: ServerProcess) -> None:
    assert request(server.url, "GET", "/health").json == {"status": "ok"}
    assert request(server.url, "GET", "/version").json == {"version": __version__}
    assert "parrot" in request(server.url, "GET", "/").json["message"]
    assert request(server.url, "HEAD", "/health").status == 200


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


def test_openapi_asks_for_a_key_only_where_one_is_asked_for(
    server: ServerProcess, start_server: StartServer
) -> None:
    without = request(server.url, "GET", "/openapi.json").json
    assert "securitySchemes" not in without["components"]
    with_key = start_server("parrot", "--api-key", "key")
    document = request(with_key.url, "GET", "/openapi.json").json
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            is_protected = path.startswith("/v1")
            assert ("security" in operation) == is_protected
            assert ("401" in operation["responses"]) == is_protected
            other = without["paths"][path][method]
            assert "security" not in other
            assert {"403", "421"} <= set(other["responses"])


def test_openapi_names_every_status(server: ServerProcess) -> None:
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
def test_every_reply_is_one_that_openapi_names(
    server: ServerProcess, status: int, path: str, body: object, headers: dict[str, str]
) -> None:
    document = request(server.url, "GET", "/openapi.json").json
    operation = document["paths"][path]["get" if body is None else "post"]
    url = path.replace("{model_id}", "parrot" if status == 200 else "x")
    if body is None:
        answer = request(server.url, "GET", url, **headers)
    else:
        answer = post(server.url, url, body, **headers)
    assert answer.status == status
    media_type = answer.headers["content-type"].partition(";")[0]
    assert media_type in operation["responses"][str(status)]["content"]
    if status != 200:
        replies.ErrorReply.model_validate(answer.json)


def test_requests_follow_each_other_on_one_connection(server: ServerProcess) -> None:
    connection = connect(server.url)
    ports = []
    for path in ("/health", "/nonsense", "/v1/models"):
        connection.request("GET", path)
        connection.getresponse().read()
        ports.append(connection.sock.getsockname()[1])
    connection.close()
    assert len(set(ports)) == 1


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)
