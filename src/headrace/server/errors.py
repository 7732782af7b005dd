"""Every failure as OpenAI's clients know it: a status and {"error": {message, type, param, code}}.

Knows no routes; app.py hands it whatever was raised.
"""

from dataclasses import dataclass, field
from typing import Any

import orjson
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from headrace.core.errors import (
    ContextLengthError,
    EngineDeadError,
    EngineDrainingError,
    InvalidParameterError,
    InvalidRequestError,
    QueueFullError,
    RequestFailedError,
)

DRAINING_RETRY_AFTER_S = 5


class ClientGoneError(Exception):
    """The client closed its connection; nobody is left to answer."""


@dataclass(eq=False)
class ApiError(Exception):
    """An answer that is not a success."""

    status: int
    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }


def to_response(error: Exception) -> Response:
    """The answer to a request that raised this."""
    api_error = to_api_error(error)
    return Response(
        orjson.dumps(api_error.body),
        status_code=api_error.status,
        media_type="application/json",
        headers=api_error.headers,
    )


def to_api_error(error: Exception) -> ApiError:
    """What the client is told; the text of an unexpected error is not for it."""
    match error:
        case ApiError():
            return error
        case ContextLengthError():
            return ApiError(400, str(error), param="prompt", code="context_length_exceeded")
        case InvalidParameterError():
            return ApiError(400, str(error), param=error.param, code="invalid_value")
        case InvalidRequestError():
            return ApiError(400, str(error))
        case ValidationError():
            return _from_validation(error)
        case QueueFullError():
            return _too_busy(429, str(error), "rate_limit_error", "queue_full", error.retry_after_s)
        case EngineDrainingError():
            return _too_busy(503, str(error), "server_error", "draining", DRAINING_RETRY_AFTER_S)
        case RequestFailedError():
            return ApiError(500, str(error), type="server_error", code="request_failed")
        case EngineDeadError():
            return ApiError(500, str(error), type="server_error", code="engine_dead")
        case HTTPException():
            return ApiError(
                error.status_code, error.detail, headers=dict(error.headers or {}), code="http"
            )
    return ApiError(
        500,
        "The server failed on this request; its log says why.",
        type="server_error",
        code="internal_error",
    )


def unknown_model(model: str, names: tuple[str, ...]) -> ApiError:
    served = ", ".join(names)
    return ApiError(
        404,
        f"The model {model!r} does not exist here; this server has: {served}.",
        param="model",
        code="model_not_found",
    )


def unknown_url(method: str, path: str) -> ApiError:
    return ApiError(
        404,
        f"Unknown request URL: {method} {path}. GET /openapi.json lists those that exist.",
        code="unknown_url",
    )


def wrong_method(method: str, path: str, allowed: str) -> ApiError:
    return ApiError(
        405,
        f"Not allowed to {method} on {path}; allowed: {allowed}.",
        code="method_not_supported",
        headers={"Allow": allowed},
    )


def invalid_api_key() -> ApiError:
    return ApiError(
        401,
        "The API key is missing or wrong. Send it as 'Authorization: Bearer KEY'.",
        code="invalid_api_key",
        headers={"WWW-Authenticate": "Bearer"},
    )


def body_too_large(max_body_size: int) -> ApiError:
    return ApiError(
        413,
        f"The request body is larger than {max_body_size} bytes (--max-body-size).",
        code="body_too_large",
    )


def _too_busy(
    status: int, message: str, error_type: str, code: str, retry_after_s: int
) -> ApiError:
    return ApiError(
        status,
        message,
        type=error_type,
        code=code,
        headers={"Retry-After": str(retry_after_s)},
    )


# Pydantic tells of each member of a union that failed; one sentence says it better.
_UNION_HINTS = {
    "prompt": "must be a text, a list of texts, a list of token ids or a list of such lists",
    "stop": "must be a text or a list of texts",
    "tool_choice": "must be a text or an object",
    "function_call": "must be a text or an object",
}
_UNION_TAGS = frozenset({"str", "constrained-str", "int", "float", "bool", "dict"})
_VALUE_ERRORS = frozenset(
    {
        *("greater_than_equal", "less_than", "less_than_equal", "string_too_long"),
        *("too_long", "too_short", "value_error"),
    }
)
"""Pydantic's names for values of the right type that are out of their bounds."""
_MAX_PARAM_LENGTH = 200


def _from_validation(error: ValidationError) -> ApiError:
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    # Of a union's members the one that had the right type says what is wrong.
    first = next((each for each in errors if each["type"] in _VALUE_ERRORS), errors[0])
    if first["type"] == "json_invalid":
        return ApiError(400, f"The body is not valid JSON: {first['msg']}", code="invalid_json")
    param = _param_of(first["loc"])
    if first["type"] in _VALUE_ERRORS:
        message = first["msg"].removeprefix("Value error, ")
        message = f"{param}: {message}" if param else f"The body {message}."
        return ApiError(400, message, param=param or None, code="invalid_value")
    if not param:
        return ApiError(400, "The body must be a JSON object.", code="invalid_json")
    if first["type"] == "missing":
        return ApiError(
            400, f"{param}: is required", param=param, code="missing_required_parameter"
        )
    hint = _UNION_HINTS.get(param)
    if param.endswith(".content"):
        hint = "must be a text or a list of parts"
    message = hint or first["msg"]
    return ApiError(400, f"{param}: {message}", param=param, code="invalid_type")


def _param_of(location: tuple[int | str, ...]) -> str:
    """The path as a person writes it: messages[1].content."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part in _UNION_TAGS or "[" in part:
            break
        else:
            path += f".{part}" if path else part
    return path if len(path) <= _MAX_PARAM_LENGTH else path[:_MAX_PARAM_LENGTH] + "..."
