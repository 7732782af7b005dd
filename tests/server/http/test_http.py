"""Plain HTTP: curl, content types, paths, headers, response schemas."""

import gzip
import json
import shlex
import shutil
import subprocess

import httpx2
import pytest

from headrace.server.api.schemas import responses as schemas
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import post, request
from headrace.version import __version__

COMPLETION = {"model": "parrot", "prompt": "0123456789abcdef", "max_tokens": 4}
CHAT = {"model": "parrot", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}

CURL_COMMANDS = [
    # As in guides to other OpenAI-compatible servers.
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
def test_curl_commands_of_guides_work(server: ServerProcess, command: str) -> None:
    arguments = shlex.split(command.replace("{url}", server.url))
    done = subprocess.run([*arguments, "-sS", "--fail"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    reply = json.loads(done.stdout)
    assert reply["model"] == "parrot"
    assert reply["usage"]["completion_tokens"] > 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_error_for_a_form_names_the_header_to_add_to_curl(server: ServerProcess) -> None:
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
def test_parameters_of_the_json_content_type_are_ignored(
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


def test_a_request_with_an_origin_needs_a_content_type(server: ServerProcess) -> None:
    """Browsers send a Blob without a type across origins without a preflight."""
    origin = server.url
    body = json.dumps(COMPLETION)
    answer = request(server.url, "POST", "/v1/completions", body, Origin=origin)
    assert answer.status == 415
    answer = request(
        server.url, "POST", "/v1/completions", body, Origin=origin, Content_Type="application/json"
    )
    assert answer.status == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, identity", "x"])
def test_a_compressed_body_is_refused(server: ServerProcess, encoding: str) -> None:
    body = gzip.compress(json.dumps(COMPLETION).encode())
    answer = request(server.url, "POST", "/v1/completions", body, Content_Encoding=encoding)
    assert answer.status == 415
    assert answer.error["code"] == "unsupported_content_encoding"
    assert encoding in answer.error["message"]
    plain = json.dumps(COMPLETION)
    answer = request(server.url, "POST", "/v1/completions", plain, Content_Encoding="identity")
    assert answer.status == 200


def test_a_trailing_slash_is_ignored(server: ServerProcess) -> None:
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


def test_responses_match_their_schemas(server: ServerProcess) -> None:
    logprobs = {"logprobs": True, "top_logprobs": 1, "return_token_ids": True}
    schemas.Completion.model_validate(post(server.url, "/v1/completions", COMPLETION).json)
    schemas.Completion.model_validate(
        post(server.url, "/v1/completions", {**COMPLETION, "logprobs": 1}).json
    )
    schemas.ChatCompletion.model_validate(post(server.url, "/v1/chat/completions", CHAT).json)
    schemas.ChatCompletion.model_validate(
        post(server.url, "/v1/chat/completions", {**CHAT, **logprobs}).json
    )
    schemas.ModelList.model_validate(request(server.url, "GET", "/v1/models").json)


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}])
def test_the_events_of_a_stream_match_their_schemas(
    server: ServerProcess, options: dict[str, object]
) -> None:
    for path, body, schema in (
        ("/v1/completions", COMPLETION, schemas.CompletionChunk),
        ("/v1/chat/completions", CHAT, schemas.ChatCompletionChunk),
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
def test_bodies_other_than_json_objects_are_refused(server: ServerProcess, body: bytes) -> None:
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


def test_a_wrong_method_gets_the_allowed_one(server: ServerProcess) -> None:
    answer = request(server.url, "GET", "/v1/completions")
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"
    assert answer.error["code"] == "method_not_supported"


def test_the_clients_request_id_is_echoed(server: ServerProcess) -> None:
    for path in ("/health", "/v1/nonsense"):
        answer = request(server.url, "GET", path, X_Request_Id="mine-1")
        assert answer.headers["x-request-id"] == "mine-1"
    without = request(server.url, "GET", "/health")
    assert len(without.headers["x-request-id"]) == 32
    unfit = request(server.url, "GET", "/health", X_Request_Id="a b")
    assert unfit.headers["x-request-id"] != "a b"


def test_a_request_id_may_be_repeated(server: ServerProcess) -> None:
    for _ in range(2):
        answer = post(server.url, "/v1/completions", COMPLETION, X_Request_Id="again")
        assert answer.status == 200


def test_operational_endpoints(server: ServerProcess) -> None:
    assert request(server.url, "GET", "/health").json == {"status": "ok"}
    assert request(server.url, "GET", "/version").json == {"version": __version__}
    assert "parrot" in request(server.url, "GET", "/").json["message"]
    assert request(server.url, "HEAD", "/health").status == 200


def test_connections_are_kept_alive(server: ServerProcess) -> None:
    ports = set()
    with httpx2.Client(trust_env=False) as client:
        for path in ("/health", "/nonsense", "/v1/models"):
            with client.stream("GET", server.url + path) as response:
                ports.add(response.extensions["network_stream"].get_extra_info("client_addr")[1])
                response.read()
    assert len(ports) == 1
