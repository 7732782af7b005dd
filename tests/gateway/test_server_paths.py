"""Every endpoint of a real server answers through the gateway as it does directly."""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from headrace.core.gateway.routes import ReplicaRoute
from headrace.server.endpoint import Endpoint
from headrace.server.routes import ENDPOINTS
from headrace.testing.models.tiny_models import write_tiny_model
from headrace.testing.processes.gateway_process import GatewayProcess
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import Answer, post, request

BODIES: dict[str, dict[str, Any]] = {
    "/detokenize": {"tokens": [1, 2, 3]},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2},
    "/v1/chat/completions/batch": {
        "messages": [[{"role": "user", "content": "hi"}]],
        "max_tokens": 2,
    },
    "/tokenize": {"prompt": "hi"},
    "/v1/responses": {"input": "hi", "max_output_tokens": 2},
    "/v1/messages": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2},
    "/v1/messages/count_tokens": {"messages": [{"role": "user", "content": "hi"}]},
    "/v1/load_lora_adapter": {"lora_name": "a", "lora_path": "/a"},
    "/v1/unload_lora_adapter": {"lora_name": "a"},
    **{path: {"input": "hi"} for path in ("/v1/embeddings", "/pooling", "/classify")},
    **{path: {"text_1": "hi", "text_2": "ho"} for path in ("/v1/score", "/score")},
    **{
        path: {"query": "hi", "documents": ["ho"]}
        for path in ("/v1/rerank", "/v2/rerank", "/rerank")
    },
}
REFUSED = {
    # What this server has none of: stored responses of this id, adapters, and another task.
    **dict.fromkeys(
        ("/v1/responses/{response_id}", "/v1/responses/{response_id}/input_items"), 404
    ),
    "/v1/load_lora_adapter": 400,
    "/v1/unload_lora_adapter": 404,
    **dict.fromkeys(("/v1/embeddings", "/pooling", "/classify", "/v1/score", "/score"), 400),
    **dict.fromkeys(("/v1/rerank", "/v2/rerank", "/rerank"), 400),
}
ENDS = {
    "/v1/responses": b"}\n\n",
    "/v1/messages": b'data: {"type":"message_stop"}\n\n',
}
"""The end of a stream, where it is not OpenAI's older one."""
PROMPT = {"prompt": "hi", "max_tokens": 2}
"""Of the other endpoints with a body."""
CALLS = [(each, method) for each in ENDPOINTS for method in each.methods]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    model = write_tiny_model(tmp_path_factory.mktemp("tiny"), max_position=64)
    arguments = (str(model.path), "--served-model-name", "org/tiny", "--kv-cache-memory", "16MiB")
    options = ("--num-threads", "1", "--enable-tokenizer-info-endpoint", "--enable-lora")
    with ServerProcess(*arguments, *options, "--allow-runtime-lora-updating") as process:
        yield process


@pytest.mark.parametrize(
    ("endpoint", "method"), CALLS, ids=[f"{method} {each.path}" for each, method in CALLS]
)
def test_it_answers_as_the_server_does(
    served: ServerProcess,
    gateway: GatewayProcess,
    route: Callable[..., str],
    endpoint: Endpoint,
    method: str,
) -> None:
    replica = ReplicaRoute("tiny", "127.0.0.1", urlsplit(served.url).port or 0)
    name = route(replica, name="tiny")
    path = endpoint.openapi_path.replace("{model_id}", "org/tiny")
    url = f"http://127.0.0.1:{gateway.port}"
    direct = call(served.url, path, method, endpoint)
    passed = call(url, f"/{name}{path}", method, endpoint)
    status = REFUSED.get(endpoint.openapi_path, 200)
    assert (direct.status, passed.status) == (status, status), direct.body
    assert passed.headers["content-type"] == direct.headers["content-type"]
    if status != 200:
        assert passed.json == direct.json
    elif endpoint.responses:
        assert passed.json.keys() == direct.json.keys()
    elif endpoint.path != "/metrics":
        assert passed.body == direct.body
    if endpoint.chunks:
        stream = call(url, f"/{name}{path}", method, endpoint, stream=True)
        assert stream.body.endswith(ENDS.get(endpoint.path, b"data: [DONE]\n\n"))


def call(url: str, path: str, method: str, endpoint: Endpoint, **fields: object) -> Answer:
    if not endpoint.requests:
        return request(url, method, path)
    return post(url, path, {**BODIES.get(endpoint.path, PROMPT), **fields})
