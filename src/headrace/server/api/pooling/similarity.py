"""Scores of pairs of texts: by a cross-encoder, or by the similarity of their embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from starlette.requests import Request

from headrace.core.errors import TaskNotSupportedError
from headrace.engine.tokenization.input_encoder import EncodedInput
from headrace.server.api.pooling.pooled import Vector, compute, encode_texts
from headrace.server.api.schemas.pooling.requests import PoolingBody
from headrace.server.http.json_body import JsonObject
from headrace.server.served_model import ServedModel

Pair = tuple[str, str]
"""Query and document."""

_DOCUMENT_PROMPTS = ("document", "passage", "corpus")


@dataclass(frozen=True, slots=True)
class Scores:
    values: list[float]
    """One a pair."""
    inputs: list[EncodedInput]
    """What was computed for them."""


def check_scores(served: ServedModel) -> None:
    """Raises TaskNotSupportedError if the model gives no score of a pair."""
    served.check_task("embed", "classify")
    spec = served.engine.ready.pooling
    if spec is not None and spec.task == "classify" and not spec.reads_pairs:
        raise TaskNotSupportedError(
            f"This classifier has {spec.size} labels, and a score needs a model with one label. "
            "Use /classify."
        )


async def score_pairs(
    request: Request,
    served: ServedModel,
    body: PoolingBody,
    head: JsonObject,
    pairs: Sequence[Pair],
) -> Scores:
    """A classifier reads each pair as one input. An embedding model reads each text once, and the
    score is the cosine of the angle between them."""
    if served.task == "classify":
        inputs = await encode_texts(served, body, list(pairs))
        vectors = await compute(request, served, body, head, inputs)
        return Scores([float(vector[0]) for vector in vectors], inputs)
    query_prompt, document_prompt = _prompts(served)
    texts = [(query_prompt + query, document_prompt + document) for query, document in pairs]
    unique = list(dict.fromkeys(text for pair in texts for text in pair))
    inputs = await encode_texts(served, body, unique)
    vectors = await compute(request, served, body, head, inputs)
    by_text = dict(zip(unique, vectors, strict=True))
    return Scores([_cosine(by_text[query], by_text[text]) for query, text in texts], inputs)


def _prompts(served: ServedModel) -> tuple[str, str]:
    """As sentence-transformers' encode_query and encode_document choose them."""
    sentence = served.sentence_config
    if sentence is None:
        return "", ""
    prompts, default = sentence.prompts, sentence.default_prompt
    documents = [prompts[name] for name in _DOCUMENT_PROMPTS if name in prompts]
    return prompts.get("query", default), documents[0] if documents else default


def _cosine(one: Vector, other: Vector) -> float:
    length = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    return float(one @ other) / length if length else 0.0
