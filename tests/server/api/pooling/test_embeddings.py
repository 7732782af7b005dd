"""/v1/embeddings and its relatives: shapes, bounds and errors, on a fake engine core."""

import base64
import json
from collections.abc import Iterator

import numpy as np
import openai
import pytest

from headrace.server.api.schemas.pooling.requests import MAX_INPUTS
from headrace.server.api.schemas.pooling.responses import (
    ClassificationList,
    EmbeddingList,
    PoolingList,
)
from headrace.testing.metrics_page import MetricsPage
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import post, request

SIZE = 8

pytestmark = pytest.mark.xdist_group("embedder")


def counts(text: str, size: int = SIZE) -> list[float]:
    """What the fake gives: how often each byte occurs, modulo the size."""
    found = [0.0] * size
    for byte in text.encode():
        found[byte % size] += 1
    return found


@pytest.fixture(scope="module")
def classifier(fake_command: tuple[str, ...]) -> Iterator[ServerProcess]:
    with ServerProcess("parrot?num_labels=3", command=fake_command) as process:
        yield process


@pytest.fixture(scope="module")
def embedding_client(embedder: ServerProcess) -> Iterator[openai.OpenAI]:
    url = f"{embedder.url}/v1"
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60.0) as client:
        yield client


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ("abc", ["abc"]),
        (["abc", "d"], ["abc", "d"]),
        ([97, 98], ["ab"]),
        ([[97], [98, 99]], ["a", "bc"]),
    ],
)
def test_every_form_of_input(
    embedding_client: openai.OpenAI, given: object, texts: list[str]
) -> None:
    answer = embedding_client.embeddings.create(model="parrot", input=given)  # type: ignore[arg-type]
    assert [each.embedding for each in answer.data] == [counts(text) for text in texts]
    assert [each.index for each in answer.data] == list(range(len(texts)))
    num_tokens = sum(map(len, texts))
    assert answer.usage.model_dump() == {"prompt_tokens": num_tokens, "total_tokens": num_tokens}


def test_base64_has_the_same_numbers(embedder: ServerProcess) -> None:
    body = {"input": "hello", "dimensions": 5}
    plain = post(embedder.url, "/v1/embeddings", {**body, "encoding_format": "float"}).json
    packed = post(embedder.url, "/v1/embeddings", {**body, "encoding_format": "base64"}).json
    numbers = np.frombuffer(base64.b64decode(packed["data"][0]["embedding"]), "<f4").tolist()
    assert numbers == plain["data"][0]["embedding"] == counts("hello")[:5]
    EmbeddingList.model_validate(plain)
    EmbeddingList.model_validate(packed)


def test_pooling_gives_the_same_vector(embedder: ServerProcess) -> None:
    answer = post(embedder.url, "/pooling", {"input": "hello"}).json
    PoolingList.model_validate(answer)
    assert answer["data"][0]["data"] == counts("hello")


def test_more_inputs_than_the_engine_runs_at_once(embedder: ServerProcess) -> None:
    texts = [chr(97 + index % 26) for index in range(1000)]
    answer = post(embedder.url, "/v1/embeddings", {"input": texts}).json
    assert [each["embedding"] for each in answer["data"]] == [counts(text) for text in texts]


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"truncate_prompt_tokens": 3}, "abc"),
        ({"truncate_prompt_tokens": 3, "truncation_side": "left"}, "hij"),
        ({"truncate_prompt_tokens": -1}, "abcdefghij"),
    ],
)
@pytest.mark.parametrize("given", ["abcdefghij", list(b"abcdefghij")])
def test_truncation(
    embedder: ServerProcess, given: object, options: dict[str, object], kept: str
) -> None:
    answer = post(embedder.url, "/v1/embeddings", {"input": given, **options}).json
    assert answer["data"][0]["embedding"] == counts(kept)
    assert answer["usage"]["prompt_tokens"] == len(kept)


def test_an_input_may_fill_the_context(embedder: ServerProcess) -> None:
    assert post(embedder.url, "/v1/embeddings", {"input": "a" * 64}).status == 200
    for given in ("a" * 65, [97] * 65):
        answer = post(embedder.url, "/v1/embeddings", {"input": given})
        assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
        assert answer.error["param"] == "input"


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "input", "missing_required_parameter"),
        ({"input": 1}, "input", "invalid_type"),
        ({"input": []}, "input", "invalid_value"),
        ({"input": ""}, "input", "invalid_value"),
        ({"input": [[]]}, "input", "invalid_value"),
        ({"input": [257]}, "input", "invalid_value"),
        ({"input": ["a"] * 1281}, "input", "invalid_value"),  # beyond max_num_seqs and max_queue
        ({"input": ["a"] * (MAX_INPUTS + 1)}, "input", "invalid_value"),
        ({"input": "a", "dimensions": 0}, "dimensions", "invalid_value"),
        ({"input": "a", "dimensions": SIZE + 1}, "dimensions", "invalid_value"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format", "invalid_value"),
        ({"input": "a", "truncate_prompt_tokens": 0}, "truncate_prompt_tokens", "invalid_value"),
        ({"input": "a", "truncate_prompt_tokens": 65}, "truncate_prompt_tokens", "invalid_value"),
        ({"input": "a", "prompt_name": "query"}, "prompt_name", "invalid_value"),
        ({"input": "a", "embed_dtype": "float16"}, "embed_dtype", "invalid_value"),
        ({"input": "a", "input_type": "query"}, "input_type", "invalid_value"),
        ({"input": "a", "model": "x"}, "model", "model_not_found"),
    ],
)
def test_invalid_requests(
    embedder: ServerProcess, body: dict[str, object], param: str, code: str
) -> None:
    answer = post(embedder.url, "/v1/embeddings", body)
    assert answer.status == (404 if code == "model_not_found" else 400)
    assert (answer.error["param"], answer.error["code"]) == (param, code)


def test_fields_of_accounts_are_accepted(embedder: ServerProcess) -> None:
    body = {"input": "a", "user": "u", "request_id": "r", "embed_dtype": "float32"}
    assert post(embedder.url, "/v1/embeddings", body).status == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": "a"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
        ("/classify", {"input": "a"}),
    ],
)
def test_an_embedding_model_does_nothing_else(
    embedder: ServerProcess, path: str, body: dict[str, object]
) -> None:
    answer = post(embedder.url, path, body)
    assert (answer.status, answer.error["code"]) == (400, "task_not_supported")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": "a"}),
        ("/pooling", {"input": "a"}),
        ("/classify", {"input": "a"}),
        ("/v1/score", {"text_1": "a", "text_2": "b"}),
        ("/v1/rerank", {"query": "a", "documents": ["b"]}),
    ],
)
def test_a_model_that_generates_gives_no_vectors(
    server: ServerProcess, path: str, body: dict[str, object]
) -> None:
    answer = post(server.url, path, body)
    assert (answer.status, answer.error["code"]) == (400, "task_not_supported")


def test_classify_names_the_likeliest_label(classifier: ServerProcess) -> None:
    answer = post(classifier.url, "/classify", {"input": ["aab", "b"]}).json
    ClassificationList.model_validate(answer)
    assert [each["probs"] for each in answer["data"]] == [counts("aab", 3), counts("b", 3)]
    assert [each["label"] for each in answer["data"]] == ["LABEL_1", "LABEL_2"]
    assert answer["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    answer = post(classifier.url, "/pooling", {"input": "a", "dimensions": 1})
    assert (answer.status, answer.error["param"]) == (400, "dimensions")
    messages = [{"role": "user", "content": "a"}]
    for path, body in (
        ("/v1/embeddings", {"input": "a"}),
        ("/v1/completions", {"prompt": "a"}),
        ("/v1/chat/completions", {"messages": messages}),
        ("/v1/chat/completions/batch", {"messages": [messages]}),
    ):
        assert post(classifier.url, path, body).error["code"] == "task_not_supported", path


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": "abc"}),
        ("/v1/embeddings", {"input": "a" * 65}),
        ("/v1/score", {"text_1": "a", "text_2": "ab"}),
        ("/v1/rerank", {"query": "a", "documents": ["b", "ab"]}),
        ("/v1/rerank", {"query": "a", "documents": ["a" * 65]}),
    ],
)
def test_invocations_finds_the_endpoint(
    embedder: ServerProcess, path: str, body: dict[str, object]
) -> None:
    direct, invoked = post(embedder.url, path, body), post(embedder.url, "/invocations", body)
    assert invoked.status == direct.status
    own = {"id", "created"}
    contents = [
        {name: value for name, value in answer.json.items() if name not in own}
        for answer in (direct, invoked)
    ]
    assert contents[0] == contents[1]


def test_a_classifier_of_several_labels_gives_no_score(classifier: ServerProcess) -> None:
    answer = post(classifier.url, "/v1/score", {"text_1": "a", "text_2": "b"})
    assert (answer.status, answer.error["code"]) == (400, "task_not_supported")


def test_prompts_of_the_model_are_put_before_texts(fake_command: tuple[str, ...]) -> None:
    arguments = (f"parrot?vector_size={SIZE}&has_prompts=true",)
    with ServerProcess(*arguments, command=fake_command) as process:

        def embed(**fields: object) -> list[float]:
            answer = post(process.url, "/v1/embeddings", {"input": "a", **fields})
            found: list[float] = answer.json["data"][0]["embedding"]
            return found

        assert embed() == counts("oa")
        assert embed(prompt_name="query") == counts("qa")
        assert embed(input=[97]) == counts("a")
        answer = post(process.url, "/v1/embeddings", {"input": "a", "prompt_name": "x"})
        assert (answer.status, answer.error["param"]) == (400, "prompt_name")
        # "q" and "a" are the same modulo 8, so that query "qd" and document "da" are alike
        [scored] = post(process.url, "/v1/score", {"text_1": "d", "text_2": "a"}).json["data"]
        assert scored["score"] == pytest.approx(1.0)
        [scored] = post(process.url, "/v1/score", {"text_1": "a", "text_2": "d"}).json["data"]
        assert scored["score"] == pytest.approx(0.0)


def test_the_model_card_says_the_task(
    embedder: ServerProcess, classifier: ServerProcess, server: ServerProcess
) -> None:
    cards = [request(each.url, "GET", "/v1/models").json for each in (embedder, classifier, server)]
    assert [card["data"][0]["task"] for card in cards] == ["embed", "classify", "generate"]


def test_metrics_and_the_access_log_count_prompt_tokens(embedder: ServerProcess) -> None:
    before = MetricsPage(embedder.url)
    assert post(embedder.url, "/v1/embeddings", {"input": ["abc", "de"]}).status == 200
    after = MetricsPage(embedder.url)
    grown = {
        "prompt_tokens_total": 5,
        "generation_tokens_total": 0,
        "request_success_total": 2,
        "time_to_first_token_seconds_count": 2,
        "iteration_tokens_total_sum": 5,
    }
    assert {name: after.value(name) - before.value(name) for name in grown} == grown
    lines = [json.loads(line) for line in embedder.output.splitlines() if line.startswith("{")]
    [last] = [line for line in lines if line.get("path") == "/v1/embeddings"][-1:]
    assert (last["prompt_tokens"], last["completion_tokens"], last["num_choices"]) == (5, 0, 2)
    assert last["finish_reasons"] == "stop,stop"
