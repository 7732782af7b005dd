"""One line of a batch: a request in OpenAI's batch format, and its result."""

import json
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

MAX_LINE_BYTES = 64 * 1024 * 1024
"""Longer lines are invalid requests; they are never held in memory as a whole."""


@dataclass(frozen=True)
class BatchRequest:
    """A request, or why its line is none."""

    line_number: int
    """From 1."""
    custom_id: str | None
    path: str = ""
    """Such as ``/v1/chat/completions``."""
    body: dict[str, Any] | None = None
    problem: str | None = None
    """Why the line is invalid: the request is not sent."""


def parse_request(line: bytes, line_number: int) -> BatchRequest:
    """The request of a line of the input file. An invalid line has a ``problem``."""

    def invalid(problem: str, custom_id: str | None = None) -> BatchRequest:
        return BatchRequest(line_number, custom_id, problem=f"line {line_number}: {problem}")

    if len(line) > MAX_LINE_BYTES:
        return invalid(f"longer than {MAX_LINE_BYTES} bytes")
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return invalid(f"not valid JSON: {error}")
    if not isinstance(value, dict):
        return invalid("must be a JSON object")
    custom_id = value.get("custom_id")
    if not isinstance(custom_id, str) or not custom_id:
        return invalid("custom_id must be a text that is not empty")
    method, url, body = value.get("method", "POST"), value.get("url"), value.get("body")
    if method != "POST":
        return invalid('method must be "POST"', custom_id)
    if not isinstance(url, str) or not _is_path(url):
        return invalid("url must be a path such as /v1/chat/completions", custom_id)
    if not isinstance(body, dict):
        return invalid("body must be a JSON object", custom_id)
    if body.get("stream"):
        return invalid("body.stream must be false: a batch has whole responses", custom_id)
    return BatchRequest(line_number, custom_id, url, body)


def _is_path(url: str) -> bool:
    is_plain = url.isascii() and url.isprintable() and " " not in url
    return url.startswith("/") and not url.startswith("//") and ".." not in url and is_plain


@dataclass(frozen=True)
class BatchResult:
    """A line of the output file."""

    line: bytes
    """With its line feed."""
    custom_id: str | None
    is_successful: bool


def response_result(request: BatchRequest, status: int, request_id: str, body: Any) -> BatchResult:
    """The result of a request that got a response, of any status. body: JSON."""
    response = {"status_code": status, "request_id": request_id, "body": body}
    return _result(request, response, None, is_successful=status < 400)


def error_result(request: BatchRequest, code: str, message: str) -> BatchResult:
    """The result of a request that got no response."""
    return _result(request, None, {"code": code, "message": message}, is_successful=False)


def parse_result(line: bytes) -> BatchResult | None:
    """The result in a line of an output file; None if it is none, or not whole."""
    try:
        value = json.loads(line)
        response, custom_id = value["response"], value["custom_id"]
        is_successful = response is not None and response["status_code"] < 400
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return BatchResult(line, custom_id, is_successful) if line.endswith(b"\n") else None


def _result(
    request: BatchRequest,
    response: dict[str, Any] | None,
    error: dict[str, Any] | None,
    *,
    is_successful: bool,
) -> BatchResult:
    value = {
        "id": f"batch_req_{uuid4().hex}",
        "custom_id": request.custom_id,
        "response": response,
        "error": error,
    }
    line = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return BatchResult(line.encode(errors="replace") + b"\n", request.custom_id, is_successful)
