"""POST /v1/score and /v1/rerank."""

from starlette.requests import Request
from starlette.responses import Response

from headrace.core.errors import InvalidParameterError
from headrace.server.api.generation_response import envelope
from headrace.server.api.pooling.pooled import usage_of
from headrace.server.api.pooling.similarity import Pair, check_scores, score_pairs
from headrace.server.api.schemas.pooling.requests import RerankRequest, ScoreRequest
from headrace.server.http.json_body import JsonObject, json_response, read_json
from headrace.server.model_pool.request_model import config_of, serve_model


async def score(request: Request) -> Response:
    """vLLM's endpoint. Raises ApiError, HeadraceError or ClientGoneError."""
    body = await read_json(request, ScoreRequest, config_of(request).max_body_size)
    body.check()
    served = await serve_model(request, body.model)
    head = envelope("score", "list", served.resolve(body.model))
    check_scores(served)
    scores = await score_pairs(request, served, body, head, _pairs(body))
    data = [
        {"index": index, "object": "score", "score": value}
        for index, value in enumerate(scores.values)
    ]
    return json_response({**head, "data": data, "usage": usage_of(scores.inputs)})


async def rerank(request: Request) -> Response:
    """Jina's and Cohere's endpoint, as vLLM has it: the documents, best first."""
    body = await read_json(request, RerankRequest, config_of(request).max_body_size)
    body.check()
    served = await serve_model(request, body.model)
    head = envelope("rerank", "list", served.resolve(body.model))
    check_scores(served)
    if not body.documents:
        raise InvalidParameterError("documents", "must not be an empty list")
    if body.top_n is not None and body.top_n < 0:
        raise InvalidParameterError("top_n", f"must be at least 0, got {body.top_n}")
    texts = [each if isinstance(each, str) else each.text for each in body.documents]
    pairs = [(body.query, text) for text in texts]
    scores = await score_pairs(request, served, body, head, pairs)
    best = sorted(range(len(texts)), key=lambda index: -scores.values[index])
    results: list[JsonObject] = []
    for index in best[: body.top_n or None]:
        result: JsonObject = {"index": index, "relevance_score": scores.values[index]}
        if body.return_documents is not False:
            result["document"] = {"text": texts[index]}
        results.append(result)
    return json_response({**head, "results": results, "usage": usage_of(scores.inputs)})


def _pairs(body: ScoreRequest) -> list[Pair]:
    """Raises InvalidParameterError if the lists have no texts, or other lengths."""
    first = [body.text_1] if isinstance(body.text_1, str) else body.text_1
    second = [body.text_2] if isinstance(body.text_2, str) else body.text_2
    for name, texts in (("text_1", first), ("text_2", second)):
        if not texts:
            raise InvalidParameterError(name, "must not be an empty list")
    if len(first) == 1:
        first = first * len(second)
    if len(first) != len(second):
        raise InvalidParameterError(
            "text_2", f"must have as many texts as text_1 ({len(first)}), got {len(second)}"
        )
    return list(zip(first, second, strict=True))
