"""Schemas of responses with vectors, for /openapi.json and for tests."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class _Response(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PromptUsage(_Response):
    prompt_tokens: int
    total_tokens: int


class _ListResponse(_Response):
    id: str
    object: Literal["list"]
    created: int
    model: str
    usage: PromptUsage


class EmbeddingObject(_Response):
    index: int
    object: Literal["embedding"]
    embedding: list[float] | str


class EmbeddingList(_ListResponse):
    data: list[EmbeddingObject]


class PoolingObject(_Response):
    index: int
    object: Literal["pooling"]
    data: list[float] | str


class PoolingList(_ListResponse):
    data: list[PoolingObject]


class Classification(_Response):
    index: int
    label: str
    probs: list[float]
    num_classes: int


class ClassificationList(_ListResponse):
    data: list[Classification]


class Score(_Response):
    index: int
    object: Literal["score"]
    score: float


class ScoreList(_ListResponse):
    data: list[Score]


class RankedText(_Response):
    text: str


class RankedDocument(_Response):
    index: int
    relevance_score: float
    document: RankedText | None = None


class Reranking(_ListResponse):
    results: list[RankedDocument]
