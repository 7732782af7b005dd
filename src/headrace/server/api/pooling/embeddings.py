"""POST /v1/embeddings, /pooling and /classify: the vector of each input."""

from starlette.requests import Request
from starlette.responses import Response

from headrace.core.errors import InvalidParameterError
from headrace.server.api.generation_response import envelope
from headrace.server.api.pooling.pooled import (
    compute,
    encode_body,
    encode_vector,
    usage_of,
    vector_response,
)
from headrace.server.api.schemas.pooling.requests import ClassificationRequest, EmbeddingRequest
from headrace.server.http.json_body import read_json
from headrace.server.model_pool.request_model import config_of, serve_model
from headrace.server.served_model import ServedModel


async def embeddings(request: Request) -> Response:
    """OpenAI's endpoint. Raises ApiError, HeadraceError or ClientGoneError."""
    return await _embed(request, "embd", "embedding", "embedding")


async def pooling(request: Request) -> Response:
    """vLLM's endpoint: the same vectors, of classifiers too, in another key."""
    return await _embed(request, "pool", "pooling", "data")


async def classify(request: Request) -> Response:
    """vLLM's endpoint: the probability of each label."""
    body = await read_json(request, ClassificationRequest, config_of(request).max_body_size)
    body.check()
    served = await serve_model(request, body.model)
    head = envelope("classify", "list", served.resolve(body.model))
    served.check_task("classify")
    inputs = await encode_body(served, body)
    vectors = await compute(request, served, body, head, inputs)
    spec = served.engine.ready.pooling
    labels = [] if spec is None else spec.labels
    data = [
        {
            "index": index,
            "label": labels[int(vector.argmax())],
            "probs": vector,
            "num_classes": len(vector),
        }
        for index, vector in enumerate(vectors)
    ]
    return vector_response({**head, "data": data, "usage": usage_of(inputs)})


async def _embed(request: Request, prefix: str, kind: str, key: str) -> Response:
    body = await read_json(request, EmbeddingRequest, config_of(request).max_body_size)
    body.check()
    served = await serve_model(request, body.model)
    head = envelope(prefix, "list", served.resolve(body.model))
    served.check_task(*(("embed", "classify") if kind == "pooling" else ("embed",)))
    inputs = await encode_body(served, body, _prompt_of(served, body.prompt_name))
    vectors = await compute(request, served, body, head, inputs, body.dimensions)
    data = [
        {"index": index, "object": kind, key: encode_vector(vector, body.encoding_format)}
        for index, vector in enumerate(vectors)
    ]
    return vector_response({**head, "data": data, "usage": usage_of(inputs)})


def _prompt_of(served: ServedModel, name: str | None) -> str:
    """The text to put before each input."""
    sentence = served.sentence_config
    if name is None:
        return "" if sentence is None else sentence.default_prompt
    prompts = {} if sentence is None else sentence.prompts
    if name not in prompts:
        known = f"its prompts are {', '.join(prompts)}" if prompts else "it has no prompts"
        raise InvalidParameterError("prompt_name", f"the model has no such prompt; {known}")
    return prompts[name]
