"""The OpenAPI document: the endpoints, with the schemas that validate their bodies."""

from collections.abc import Iterable, Sequence

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from headrace.server.api.schemas.responses import ErrorResponse
from headrace.server.endpoint import JSON, Endpoint
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
    503: "Shutting down, or the model could not be loaded; retry after Retry-After seconds",
}
"""Descriptions of the error statuses."""

_ACCESS_WITH_KEYS, _ACCESS_WITHOUT_KEYS = (401,), (403, 421)
_RETRIED = (429, 503)


def build_openapi(
    endpoints: Iterable[Endpoint], *, with_keys: bool, root_path: str = ""
) -> JsonObject:
    """The OpenAPI 3.1 document. with_keys: the server requires API keys."""
    described = [each for each in endpoints if each.in_openapi]
    schemas: dict[type[BaseModel], None] = {ErrorResponse: None}
    for each in described:
        schemas |= dict.fromkeys((*each.requests, *each.responses, *each.chunks))
    _, definitions = models_json_schema(
        [(model, "validation") for model in schemas], ref_template=_REF
    )
    components: JsonObject = {"schemas": definitions["$defs"]}
    if with_keys:
        components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    paths: JsonObject = {}
    for each in described:
        operations = paths.setdefault(each.openapi_path, {})
        for method in each.methods:
            operations[method.lower()] = _operation(each, with_keys)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Headrace",
            "description": "An OpenAI-compatible server.",
            "version": __version__,
        },
        **({"servers": [{"url": root_path}]} if root_path else {}),
        "paths": paths,
        "components": components,
    }


def _operation(endpoint: Endpoint, with_keys: bool) -> JsonObject:
    operation: JsonObject = {"summary": endpoint.summary}
    if endpoint.parameters:
        operation["parameters"] = [_path_parameter(name) for name in endpoint.parameters]
    if endpoint.requests:
        content = {JSON: {"schema": _any_of(endpoint.requests)}}
        operation["requestBody"] = {"required": True, "content": content}
    statuses = {*endpoint.errors, 500}
    if not with_keys:
        statuses.update(_ACCESS_WITHOUT_KEYS)
    elif not endpoint.is_open:
        statuses.update(_ACCESS_WITH_KEYS)
        operation["security"] = [{"bearer": []}]
    operation["responses"] = {"200": _ok(endpoint), **_errors(sorted(statuses))}
    return operation


def _path_parameter(name: str) -> JsonObject:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1},
    }


def _ok(endpoint: Endpoint) -> JsonObject:
    if not endpoint.responses:
        content: JsonObject = {endpoint.media_type: {"schema": {"type": "string"}}}
        return {"description": "OK", "content": content}
    content = {endpoint.media_type: {"schema": _any_of(endpoint.responses)}}
    description = "OK"
    if endpoint.chunks:
        # OpenAPI 3.1 has no schema for events; itemSchema is from OpenAPI 3.2.
        content["text/event-stream"] = {"x-itemSchema": _any_of(endpoint.chunks)}
        names = " or ".join(chunk.__name__ for chunk in endpoint.chunks)
        description = (
            f"The response; with stream: true, one event per {names}, then [DONE], or an "
            "ErrorResponse if the stream failed"
        )
    return {"description": description, "content": content}


def _errors(statuses: Iterable[int]) -> JsonObject:
    retry_after = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}}
    return {
        str(status): {
            "description": _ERRORS[status],
            "content": {JSON: {"schema": _any_of((ErrorResponse,))}},
            **({"headers": retry_after} if status in _RETRIED else {}),
        }
        for status in statuses
    }


def _any_of(models: Sequence[type[BaseModel]]) -> JsonObject:
    references = [{"$ref": _REF.format(model=model.__name__)} for model in models]
    return references[0] if len(references) == 1 else {"anyOf": references}
