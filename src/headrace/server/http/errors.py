"""Error responses: a status and {"error": {message, type, param, code}}, OpenAI's format.

On the paths of Anthropic's API they have its format, {"type": "error", "error": {type, message}},
with param and code in addition.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response

from headrace.core.errors import (
    ContextLengthError,
    EngineDeadError,
    EngineDrainingError,
    HeadraceError,
    InvalidParameterError,
    InvalidRequestError,
    ModelLoadError,
    QueueFullError,
    RequestFailedError,
)

DRAINING_RETRY_AFTER_S = 5

MAX_MESSAGE_LENGTH = 2000
MAX_PARAM_LENGTH = 200
"""Characters."""


class ErrorCode(StrEnum):
    """The values of ``error.code``, each with its HTTP status.

    They are part of the API: clients match them, and docs/api.md lists them all.
    """

    status: int

    def __new__(cls, value: str, status: int) -> "ErrorCode":
        code = str.__new__(cls, value)
        code._value_ = value
        code.status = status
        return code

    INVALID_HTTP = "invalid_http", 400
    INVALID_JSON = "invalid_json", 400
    INVALID_TYPE = "invalid_type", 400
    INVALID_VALUE = "invalid_value", 400
    UNKNOWN_PARAMETER = "unknown_parameter", 400
    MISSING_REQUIRED_PARAMETER = "missing_required_parameter", 400
    CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded", 400
    INVALID_REQUEST = "invalid_request", 400
    PREVIOUS_RESPONSE_NOT_FOUND = "previous_response_not_found", 400
    TASK_NOT_SUPPORTED = "task_not_supported", 400
    INVALID_ADAPTER = "invalid_adapter", 400
    CORS_NOT_ALLOWED = "cors_not_allowed", 400
    INVALID_API_KEY = "invalid_api_key", 401
    ORIGIN_NOT_ALLOWED = "origin_not_allowed", 403
    MODEL_NOT_FOUND = "model_not_found", 404
    RESPONSE_NOT_FOUND = "response_not_found", 404
    UNKNOWN_URL = "unknown_url", 404
    METHOD_NOT_SUPPORTED = "method_not_supported", 405
    BODY_TOO_LARGE = "body_too_large", 413
    UNSUPPORTED_CONTENT_TYPE = "unsupported_content_type", 415
    UNSUPPORTED_CONTENT_ENCODING = "unsupported_content_encoding", 415
    HOST_NOT_ALLOWED = "host_not_allowed", 421
    QUEUE_FULL = "queue_full", 429
    HEADERS_TOO_LARGE = "headers_too_large", 431
    INTERNAL_ERROR = "internal_error", 500
    REQUEST_FAILED = "request_failed", 500
    ENGINE_DEAD = "engine_dead", 500
    DRAINING = "draining", 503
    MODEL_LOAD_FAILED = "model_load_failed", 503


class ClientGoneError(Exception):
    """The client closed its connection: there is no response to send."""


@dataclass(eq=False)
class ApiError(Exception):
    """An error response. Its status is the code's, unless it is set to another one."""

    code: ErrorCode
    message: str
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    status: int = field(init=False)

    def __post_init__(self) -> None:
        self.status = self.code.status

    @property
    def type(self) -> str:
        """OpenAI's error type, which follows from the status."""
        if self.status == 429:
            return "rate_limit_error"
        return "server_error" if self.status >= 500 else "invalid_request_error"

    @property
    def body(self) -> dict[str, dict[str, str | None]]:
        """Message and param are truncated: they may quote the request."""
        return {
            "error": {
                "message": _truncate(self.message, MAX_MESSAGE_LENGTH),
                "type": self.type,
                "param": None if self.param is None else _truncate(self.param, MAX_PARAM_LENGTH),
                "code": self.code.value,
            }
        }

    @property
    def anthropic_body(self) -> dict[str, object]:
        """The same in Anthropic's format."""
        other = "api_error" if self.status >= 500 else "invalid_request_error"
        kind = _ANTHROPIC_TYPES.get(self.status, other)
        return {"type": "error", "error": {**self.body["error"], "type": kind}}


_ANTHROPIC_PATH = "/v1/messages"
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def to_response(error: Exception, path: str = "") -> Response:
    """The response to a request to this path that raised this."""
    api_error = to_api_error(error)
    is_anthropic = path == _ANTHROPIC_PATH or path.startswith(f"{_ANTHROPIC_PATH}/")
    return Response(
        orjson.dumps(api_error.anthropic_body if is_anthropic else api_error.body),
        status_code=api_error.status,
        media_type="application/json",
        headers=api_error.headers,
    )


def to_api_error(error: Exception) -> ApiError:
    """The error for the client. The text of an unexpected exception is not disclosed."""
    match error:
        case ApiError():
            return error
        case ContextLengthError():
            return ApiError(_code_of(error), str(error), param="prompt")
        case InvalidParameterError():
            return ApiError(_code_of(error), str(error), param=error.param)
        case QueueFullError():
            return _retryable(error, error.retry_after_s)
        case EngineDrainingError():
            return _retryable(error, DRAINING_RETRY_AFTER_S)
        case InvalidRequestError() | RequestFailedError() | EngineDeadError() | ModelLoadError():
            return ApiError(_code_of(error), str(error))
        case HTTPException() if error.status_code < 500:
            refusal = ApiError(
                ErrorCode.INVALID_REQUEST, error.detail, headers=dict(error.headers or {})
            )
            refusal.status = error.status_code
            return refusal
    return ApiError(
        ErrorCode.INTERNAL_ERROR, "Internal server error. See the server's log for the cause."
    )


def unknown_model(model: str, names: tuple[str, ...], param: str = "model") -> ApiError:
    served = ", ".join(names) or "none"
    kind = "Model" if param == "model" else "Adapter"
    return ApiError(
        ErrorCode.MODEL_NOT_FOUND,
        f"{kind} {model!r} not found. This server serves: {served}.",
        param=param,
    )


def unknown_field(param: str, known: Iterable[str] = ()) -> ApiError:
    """known: the supported fields, of which the error names a similar one."""
    similar = get_close_matches(param[:MAX_PARAM_LENGTH], known, n=1)
    hint = f"did you mean {similar[0]}?" if similar else "remove it"
    return ApiError(
        ErrorCode.UNKNOWN_PARAMETER, f"{param}: is not a field of this API; {hint}", param=param
    )


def unknown_url(method: str, path: str) -> ApiError:
    return ApiError(
        ErrorCode.UNKNOWN_URL, f"Unknown URL: {method} {path}. See GET /openapi.json for the API."
    )


def wrong_method(method: str, path: str, allowed: str) -> ApiError:
    return ApiError(
        ErrorCode.METHOD_NOT_SUPPORTED,
        f"Method {method} is not supported by {path}. Use {allowed}.",
        headers={"Allow": allowed},
    )


def invalid_api_key() -> ApiError:
    return ApiError(
        ErrorCode.INVALID_API_KEY,
        "Missing or invalid API key. Send it as 'Authorization: Bearer KEY' or 'x-api-key: KEY'.",
        headers={"WWW-Authenticate": "Bearer"},
    )


def unknown_response(response_id: str) -> ApiError:
    return ApiError(
        ErrorCode.RESPONSE_NOT_FOUND,
        f"Response {response_id!r} not found. It was not stored, was deleted, or made room for "
        "others (--max-stored-responses, --max-stored-response-bytes).",
    )


def unknown_previous_response(response_id: str) -> ApiError:
    return ApiError(
        ErrorCode.PREVIOUS_RESPONSE_NOT_FOUND,
        f"Response {response_id!r} not found. It was not stored, was deleted, or made room for "
        "others. Send the whole conversation in input.",
        param="previous_response_id",
    )


def host_or_origin_not_allowed(status: int, message: str) -> Response:
    """status: 421 for the Host header, 403 for the Origin header."""
    code = ErrorCode.HOST_NOT_ALLOWED if status == 421 else ErrorCode.ORIGIN_NOT_ALLOWED
    return to_response(ApiError(code, message))


def body_too_large(max_body_size: int) -> ApiError:
    return ApiError(
        ErrorCode.BODY_TOO_LARGE,
        f"The request body exceeds {max_body_size} bytes (--max-body-size).",
    )


def too_many_values(limit: int) -> ApiError:
    return ApiError(
        ErrorCode.BODY_TOO_LARGE,
        f"The request body has more than {limit} JSON keys and values. Split it into several "
        "requests.",
    )


def wrong_content_type(content_type: str) -> ApiError:
    sent = f"not {content_type!r}" if content_type else "and it is missing"
    return ApiError(
        ErrorCode.UNSUPPORTED_CONTENT_TYPE,
        f"The Content-Type must be application/json, {sent}. "
        "With curl, add -H 'content-type: application/json'.",
    )


def encoded_body(encoding: str) -> ApiError:
    return ApiError(
        ErrorCode.UNSUPPORTED_CONTENT_ENCODING,
        f"Content-Encoding {encoding!r} is not supported. Send the body uncompressed.",
        headers={"Accept-Encoding": "identity"},
    )


def invalid_json(message: str) -> ApiError:
    return ApiError(ErrorCode.INVALID_JSON, message)


def _code_of(error: HeadraceError) -> ErrorCode:
    """The code of an error of the engine, which is one of the API's too."""
    return ErrorCode[error.code.upper()]


def _retryable(error: HeadraceError, retry_after_s: int) -> ApiError:
    return ApiError(_code_of(error), str(error), headers={"Retry-After": str(retry_after_s)})


def _truncate(text: str, max_length: int) -> str:
    """Encodable in UTF-8, at most max_length characters and an ellipsis."""
    if len(text) > max_length:
        text = text[:max_length] + "…"
    return text.encode("utf-8", "replace").decode()
