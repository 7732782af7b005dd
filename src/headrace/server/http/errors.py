"""Every failure as OpenAI's clients know it: a status and {"error": {message, type, param, code}}.

Knows no routes; app.py hands it whatever was raised.
"""

from dataclasses import dataclass, field
from typing import Any

import orjson
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

MAX_MESSAGE_LENGTH = 2000
MAX_PARAM_LENGTH = 200
"""Characters."""


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
        """What is quoted from the request is cut, however long it was."""
        return {
            "error": {
                "message": _cut(self.message, MAX_MESSAGE_LENGTH),
                "type": self.type,
                "param": None if self.param is None else _cut(self.param, MAX_PARAM_LENGTH),
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


def refused_origin(status: int, message: str) -> Response:
    """421 for a foreign Host, 403 for a foreign Origin."""
    code = "host_not_allowed" if status == 421 else "origin_not_allowed"
    return to_response(ApiError(status, message, code=code))


def body_too_large(max_body_size: int) -> ApiError:
    return ApiError(
        413,
        f"The request body is larger than {max_body_size} bytes (--max-body-size).",
        code="body_too_large",
    )


def too_many_values(limit: int) -> ApiError:
    return ApiError(
        413,
        f"The request body has more than {limit} JSON values. Send several smaller requests.",
        code="body_too_large",
    )


def wrong_content_type(content_type: str) -> ApiError:
    sent = f"{content_type!r} is not read" if content_type else "there is none"
    return ApiError(
        415,
        f"The Content-Type must be application/json, and {sent}. "
        "With curl, add -H 'content-type: application/json'.",
        code="unsupported_content_type",
    )


def encoded_body(encoding: str) -> ApiError:
    return ApiError(
        415,
        f"Request bodies with Content-Encoding {encoding!r} are not read. Send the body as it is.",
        code="unsupported_content_encoding",
        headers={"Accept-Encoding": "identity"},
    )


def invalid_json(message: str) -> ApiError:
    return ApiError(400, message, code="invalid_json")


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


def _cut(text: str, max_length: int) -> str:
    """A text that UTF-8 can hold, of at most so many characters and an ellipsis."""
    if len(text) > max_length:
        text = text[:max_length] + "…"
    return text.encode("utf-8", "replace").decode()
