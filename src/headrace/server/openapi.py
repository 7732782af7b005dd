"""/openapi.json: the routes and the real schemas of their bodies.

Knows the models of bodies and the routes' names, not what they do.
"""

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from headrace.server.api import response_schemas as schemas
from headrace.server.api.request_schemas import ChatCompletionRequest, CompletionRequest
from headrace.server.http.json_body import JsonObject
from headrace.version import __version__

_REF = "#/components/schemas/{model}"


_ERRORS = {
    400: "The request is wrong; param names the field",
    401: "The API key is missing or wrong",
    403: "The Origin header names a web page that is not allowed",
    404: "This server has no such model",
    413: "The body is too large",
    415: "The body is not JSON as it is",
    421: "The Host header names another server",
    429: "The queue is full; try again after Retry-After seconds",
    500: "The server failed",
    503: "The server is shutting down; try again after Retry-After seconds",
}
"""What each status of an error means, on every route that can answer with it."""

_ACCESS_WITH_KEYS, _ACCESS_WITHOUT_KEYS = (401,), (403, 421)
_RETRIED = (429, 503)


def build_openapi(*, with_keys: bool) -> JsonObject:
    """The OpenAPI 3.1 document of a server that asks for keys, or of one that does not."""
    models: list[type[BaseModel]] = [
        CompletionRequest,
        ChatCompletionRequest,
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
        ("/v1/models", "get", _read("List the model's names", schemas.ModelList)),
        ("/v1/models/{model_id}", "get", _read_model()),
        (
            "/v1/completions",
            "post",
            _generate(
                "Continue a text",
                CompletionRequest,
                schemas.Completion,
                schemas.CompletionChunk,
            ),
        ),
        (
            "/v1/chat/completions",
            "post",
            _generate(
                "Answer a conversation",
                ChatCompletionRequest,
                schemas.ChatCompletion,
                schemas.ChatCompletionChunk,
            ),
        ),
        (
            "/health",
            "get",
            _read("200 while requests are taken, else 503", schemas.Health, 503),
        ),
        ("/version", "get", _read("Headrace's version", schemas.Version)),
        ("/metrics", "get", _read_text("Metrics for Prometheus")),
    ]


def _with_access(path: str, operation: JsonObject, with_keys: bool) -> JsonObject:
    """The operation with the ways to be refused before it begins."""
    is_protected = with_keys and path.startswith("/v1/")
    if is_protected:
        operation["security"] = [{"bearer": []}]
        operation["responses"] |= _errors(*_ACCESS_WITH_KEYS)
    elif not with_keys:
        operation["responses"] |= _errors(*_ACCESS_WITHOUT_KEYS)
    return operation


def _read(summary: str, reply: type[BaseModel], *errors: int) -> JsonObject:
    return {"summary": summary, "responses": {"200": _json("OK", reply), **_errors(*errors, 500)}}


def _read_model() -> JsonObject:
    parameter = {
        "name": "model_id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1},
    }
    return {
        **_read("One of the model's names", schemas.ModelCard, 404),
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
    reply: type[BaseModel],
    chunk: type[BaseModel],
) -> JsonObject:
    answer = _json(
        f"The reply; with stream: true, events whose data is a {chunk.__name__} each, and at the "
        "end [DONE], or an ErrorResponse if the stream failed",
        reply,
    )
    # A schema would be one of the whole stream's text; OpenAPI 3.2 has itemSchema for an event.
    answer["content"]["text/event-stream"] = {"x-itemSchema": _ref(chunk)}
    return {
        "summary": summary,
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref(request)}},
        },
        "responses": {"200": answer, **_errors(400, 404, 413, 415, 429, 500, 503)},
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
