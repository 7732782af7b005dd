"""/openapi.json: the routes and the real schemas of their bodies.

Knows the models of bodies and the routes' names, not what they do.
"""

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from headrace.server import replies
from headrace.server.json_types import JsonObject
from headrace.server.protocol import ChatCompletionRequest, CompletionRequest
from headrace.version import __version__

_REF = "#/components/schemas/{model}"


def build_openapi() -> JsonObject:
    """The OpenAPI 3.1 document."""
    models: list[type[BaseModel]] = [
        CompletionRequest,
        ChatCompletionRequest,
        replies.Completion,
        replies.CompletionChunk,
        replies.ChatCompletion,
        replies.ChatCompletionChunk,
        replies.ModelList,
        replies.ModelCard,
        replies.Health,
        replies.Version,
        replies.ErrorReply,
    ]
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template=_REF
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Headrace",
            "description": "An OpenAI-compatible server for one model.",
            "version": __version__,
        },
        "paths": _paths(),
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _paths() -> JsonObject:
    return {
        "/v1/models": {"get": _read("List the model's names", replies.ModelList, secured=True)},
        "/v1/models/{model_id}": {
            "get": {
                **_read("One of the model's names", replies.ModelCard, secured=True),
                "parameters": [
                    {
                        "name": "model_id",
                        "in": "path",
                        "required": True,
                        "schema": {"type": "string"},
                    }
                ],
            }
        },
        "/v1/completions": {
            "post": _generate(
                "Continue a text", CompletionRequest, replies.Completion, replies.CompletionChunk
            )
        },
        "/v1/chat/completions": {
            "post": _generate(
                "Answer a conversation",
                ChatCompletionRequest,
                replies.ChatCompletion,
                replies.ChatCompletionChunk,
            )
        },
        "/health": {"get": _read("200 while requests are taken, else 503", replies.Health)},
        "/version": {"get": _read("Headrace's version", replies.Version)},
        "/metrics": {"get": _read_text("Metrics for Prometheus")},
    }


def _read(summary: str, reply: type[BaseModel], secured: bool = False) -> JsonObject:
    return {
        "summary": summary,
        "responses": {"200": _json("OK", reply), "default": _json("Error", replies.ErrorReply)},
        **({"security": [{"bearer": []}]} if secured else {}),
    }


def _read_text(summary: str) -> JsonObject:
    content = {"text/plain": {"schema": {"type": "string"}}}
    return {"summary": summary, "responses": {"200": {"description": "OK", "content": content}}}


def _generate(
    summary: str,
    request: type[BaseModel],
    reply: type[BaseModel],
    chunk: type[BaseModel],
) -> JsonObject:
    answer = _json("The reply, or with stream: true one chunk an event", reply)
    answer["content"]["text/event-stream"] = {"schema": _ref(chunk)}
    return {
        "summary": summary,
        "security": [{"bearer": []}],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref(request)}},
        },
        "responses": {"200": answer, "default": _json("Error", replies.ErrorReply)},
    }


def _json(description: str, model: type[BaseModel]) -> JsonObject:
    return {
        "description": description,
        "content": {"application/json": {"schema": _ref(model)}},
    }


def _ref(model: type[BaseModel]) -> JsonObject:
    return {"$ref": _REF.format(model=model.__name__)}
