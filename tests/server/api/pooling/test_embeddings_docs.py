"""docs/embeddings.md lists the same fields as the code."""

from pathlib import Path

from headrace.server.api.schemas.pooling.requests import (
    IGNORED_IN_POOLING,
    MAX_INPUTS,
    REFUSED_IN_POOLING,
    ClassificationRequest,
    EmbeddingRequest,
    PoolingBody,
    RerankRequest,
    ScoreRequest,
)

PAGE = (Path(__file__).parents[4] / "docs" / "embeddings.md").read_text()
FIELDS = PAGE.split("\n## Fields\n")[1].split("\n## ")[0]
MODELS = {
    "/v1/embeddings": EmbeddingRequest,
    "/pooling": EmbeddingRequest,
    "/classify": ClassificationRequest,
    "/v1/score": ScoreRequest,
    "/v1/rerank": RerankRequest,
}


def code(text: str) -> list[str]:
    return text.split("`")[1::2]


def test_fields() -> None:
    rows = [line.strip("|").split("|") for line in FIELDS.splitlines() if line.startswith("| `")]
    shared = {name for row in rows if len(row) == 2 for name in code(row[0])}
    own = {
        (path, name)
        for row in rows
        if len(row) == 3
        for path in code(row[0])
        for name in code(row[1])
    }
    assert shared == set(PoolingBody.model_fields)
    assert own == {
        (path, name)
        for path, model in MODELS.items()
        for name in model.model_fields.keys() - PoolingBody.model_fields.keys()
    }
    assert f"{MAX_INPUTS:,}" in FIELDS


def test_refused_and_ignored_fields() -> None:
    refused = FIELDS.split("Refused with 400")[1].split("\n\n")[0]
    ignored = FIELDS.split("\nIgnored:")[1]
    assert set(code(refused)) == set(REFUSED_IN_POOLING)
    assert set(code(ignored)) == set(IGNORED_IN_POOLING)
