"""/openapi.json: the routes, with the schemas that validate their bodies."""

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from headrace.server.api.schemas import pooled_responses as pooled
from headrace.server.api.schemas import responses as schemas
from headrace.server.api.schemas.pooling import (
    ClassificationRequest,
    EmbeddingRequest,
    RerankRequest,
    ScoreRequest,
)
from headrace.server.api.schemas.requests import ChatCompletionRequest, CompletionRequest
from headrace.server.http.auth import is_protected
from headrace.server.http.json_body import JsonObject
from headrace.version import __version__

_REF = "#/components/schemas/{model}"


_ERRORS = {
    400: "Invalid request; param is the field at fault",
    401: "Missing or invalid API key",
    403: "Origin not allowed",
    404: "Model not found",
    413: "Body too large",
    415: "Unsupported content type or encoding",
    421: "Host not allowed",
    429: "Queue full; retry after Retry-After seconds",
    500: "Internal server error",
    503: "Shutting down; retry after Retry-After seconds",
}
"""Descriptions of the error statuses."""

_POOLING: tuple[tuple[str, str, type[BaseModel], type[BaseModel]], ...] = (
    ("/v1/embeddings", "Create embeddings", EmbeddingRequest, pooled.EmbeddingList),
    ("/pooling", "Pool hidden states", EmbeddingRequest, pooled.PoolingList),
    ("/classify", "Classify texts", ClassificationRequest, pooled.ClassificationList),
    ("/v1/score", "Score pairs of texts", ScoreRequest, pooled.ScoreList),
    ("/v1/rerank", "Rerank documents", RerankRequest, pooled.Reranking),
)
"""Path, summary, request and response. /score, /rerank and /v2/rerank are other paths of these."""

_ACCESS_WITH_KEYS, _ACCESS_WITHOUT_KEYS = (401,), (403, 421)
_RETRIED = (429, 503)


def build_openapi(*, with_keys: bool) -> JsonObject:
    """The OpenAPI 3.1 document. with_keys: the server requires API keys."""
    models: list[type[BaseModel]] = [
        CompletionRequest,
        ChatCompletionRequest,
        *(model for _, _, *pair in _POOLING for model in pair),
        schemas.Completion,
        schemas.CompletionChunk,
        schemas.ChatCompletion,
        schemas.ChatCompletionChunk,
        schemas.ModelList,
        schemas.ModelCard,
        schemas.Health,
        schemas.Version,
        schemas.ErrorResponse,
    ]
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template=_REF
    )
    components: JsonObject = {"schemas": definitions["$defs"]}
    if with_keys:
        components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Headrace",
            "description": "An OpenAI-compatible server for one model.",
            "version": __version__,
        },
        "paths": {
            path: {method: _with_access(path, operation, with_keys)}
            for path, method, operation in _operations()
        },
        "components": components,
    }


def _operations() -> list[tuple[str, str, JsonObject]]:
    return [
        ("/v1/models", "get", _read("List models", schemas.ModelList)),
        ("/v1/models/{model_id}", "get", _read_model()),
        (
            "/v1/completions",
            "post",
            _generate(
                "Create a completion",
                CompletionRequest,
                schemas.Completion,
                schemas.CompletionChunk,
            ),
        ),
        (
            "/v1/chat/completions",
            "post",
            _generate(
                "Create a chat completion",
                ChatCompletionRequest,
                schemas.ChatCompletion,
                schemas.ChatCompletionChunk,
            ),
        ),
        *(
            (path, "post", _pool(summary, body, response))
            for path, summary, body, response in _POOLING
        ),
        (
            "/health",
            "get",
            _read("Health check: 200 if requests are accepted, else 503", schemas.Health, 503),
        ),
        ("/version", "get", _read("Version of Headrace", schemas.Version)),
        ("/metrics", "get", _read_text("Prometheus metrics")),
    ]


def _with_access(path: str, operation: JsonObject, with_keys: bool) -> JsonObject:
    """Add the errors of authentication or of host and origin checks."""
    if with_keys and is_protected(path):
        operation["security"] = [{"bearer": []}]
        operation["responses"] |= _errors(*_ACCESS_WITH_KEYS)
    elif not with_keys:
        operation["responses"] |= _errors(*_ACCESS_WITHOUT_KEYS)
    return operation


def _read(summary: str, response: type[BaseModel], *errors: int) -> JsonObject:
    return {
        "summary": summary,
        "responses": {"200": _json("OK", response), **_errors(*errors, 500)},
    }


def _read_model() -> JsonObject:
    parameter = {
        "name": "model_id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1},
    }
    return {
        **_read("Get a model", schemas.ModelCard, 404),
        "parameters": [parameter],
    }


def _read_text(summary: str) -> JsonObject:
    content = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "summary": summary,
        "responses": {"200": {"description": "OK", "content": content}, **_errors(500)},
    }


def _generate(
    summary: str,
    request: type[BaseModel],
    response: type[BaseModel],
    chunk: type[BaseModel],
) -> JsonObject:
    ok = _json(
        f"The response; with stream: true, one event per {chunk.__name__}, then [DONE], or an "
        "ErrorResponse if the stream failed",
        response,
    )
    # OpenAPI 3.1 has no schema for events; itemSchema is from OpenAPI 3.2.
    ok["content"]["text/event-stream"] = {"x-itemSchema": _ref(chunk)}
    return {
        "summary": summary,
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref(request)}},
        },
        "responses": {"200": ok, **_errors(400, 404, 413, 415, 429, 500, 503)},
    }


def _pool(summary: str, request: type[BaseModel], response: type[BaseModel]) -> JsonObject:
    return {
        "summary": summary,
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref(request)}},
        },
        "responses": {
            "200": _json("OK", response),
            **_errors(400, 404, 413, 415, 429, 500, 503),
        },
    }


def _errors(*statuses: int) -> JsonObject:
    retry_after = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}}
    return {
        str(status): {
            **_json(_ERRORS[status], schemas.ErrorResponse),
            **({"headers": retry_after} if status in _RETRIED else {}),
        }
        for status in statuses
    }


def _json(description: str, model: type[BaseModel]) -> JsonObject:
    return {
        "description": description,
        "content": {"application/json": {"schema": _ref(model)}},
    }


def _ref(model: type[BaseModel]) -> JsonObject:
    return {"$ref": _REF.format(model=model.__name__)}
