"""Converts pydantic's validation errors to one error about the first invalid value of a body."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from headrace.server.http.errors import ApiError, ErrorCode, invalid_json, unknown_field

Path = tuple[int | str, ...]

_UNION_RULES = {
    "prompt": "must be a string, a list of strings, a list of token ids or a list of such lists",
    "input": "must be a string, a list of strings, a list of token ids or a list of such lists",
    "stop": "must be a string or a list of strings",
    "guided_json": "must be a JSON schema, as an object or as text",
    "json_schema": "must be a JSON schema, as an object or as text",
    "json": "must be a JSON schema, as an object or as text",
    "tool_choice": "must be a string or an object",
    "function_call": "must be a string or an object",
    "content": "must be a string or a list of content parts",
}
"""Messages for values that match no type of their field's union."""

_VALUE_ERRORS = frozenset(
    {
        *("greater_than_equal", "less_than", "less_than_equal", "string_too_long"),
        *("too_long", "too_short", "value_error", "string_too_short", "string_pattern_mismatch"),
        "literal_error",
    }
)
"""pydantic's error types for values of the right type that are out of range."""


def invalid_body(error: ValidationError, body: object) -> ApiError:
    """The 400 error for a parsed body.

    Of a failed union, the member that matched furthest into the value is reported: out-of-range
    values before wrong types, then the deepest path.
    """
    if not isinstance(body, dict):
        return invalid_json("The body must be a JSON object.")
    details = error.errors(include_url=False, include_context=False, include_input=False)
    located = [_Located(_path_of(detail, body), detail) for detail in details]
    field = [each for each in located if each.path[:1] == located[0].path[:1]]
    out_of_bounds = [each for each in field if each.detail["type"] in _VALUE_ERRORS]
    path = max(each.path for each in out_of_bounds or field)
    relevant = [each.detail for each in out_of_bounds or field if each.path == path]
    param = _format_path(path)
    if out_of_bounds:
        rule = _join(relevant)
        message = f"{param}: {rule}" if param else f"The body {rule}."
        return ApiError(ErrorCode.INVALID_VALUE, message, param=param or None)
    if relevant[0]["type"] == "missing":
        return ApiError(ErrorCode.MISSING_REQUIRED_PARAMETER, f"{param}: is required", param=param)
    if relevant[0]["type"] == "extra_forbidden":
        return unknown_field(param)
    return ApiError(ErrorCode.INVALID_TYPE, f"{param}: {_rule(path, relevant)}", param=param)


class _Located(NamedTuple):
    path: Path
    detail: ErrorDetails


def _path_of(detail: ErrorDetails, body: object) -> Path:
    """pydantic's location without its names for the members of unions."""
    path = tuple(_walk(detail["loc"], body))
    return (*path, detail["loc"][-1]) if detail["type"] == "missing" else path


def _walk(location: Path, value: Any) -> Iterator[int | str]:
    for part in location:
        is_key = isinstance(value, dict) and part in value
        is_index = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if is_key or is_index:
            yield part
            value = value[part]


def _rule(path: Path, relevant: list[ErrorDetails]) -> str:
    if len(relevant) > 1 and path[-1] in _UNION_RULES:
        return _UNION_RULES[str(path[-1])]
    return _join(relevant)


def _join(relevant: list[ErrorDetails]) -> str:
    messages = (detail["msg"].removeprefix("Value error, ") for detail in relevant)
    return "; or ".join(dict.fromkeys(messages))


def _format_path(path: Path) -> str:
    """The path as in JavaScript: messages[1].content."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text
