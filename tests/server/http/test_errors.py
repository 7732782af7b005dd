"""Every error response has a code, and docs/api.md lists the codes."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.exceptions import HTTPException

import headrace.server
from headrace.core.errors import (
    AdapterError,
    ContextLengthError,
    EngineDeadError,
    EngineDrainingError,
    HeadraceError,
    InvalidParameterError,
    InvalidRequestError,
    ModelError,
    ModelLoadError,
    QueueFullError,
    RequestFailedError,
    TaskNotSupportedError,
)
from headrace.server.http.errors import ErrorCode, to_api_error
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import request

PAGE = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
SOURCES = [*Path(headrace.server.__path__[0]).rglob("*.py")]
CODES_BY_ERROR = [
    (ContextLengthError(9, 8), "context_length_exceeded", 400, "invalid_request_error"),
    (InvalidParameterError("n", "wrong"), "invalid_value", 400, "invalid_request_error"),
    (InvalidRequestError("wrong"), "invalid_request", 400, "invalid_request_error"),
    (TaskNotSupportedError("embed"), "task_not_supported", 400, "invalid_request_error"),
    (AdapterError("unknown"), "invalid_adapter", 400, "invalid_request_error"),
    (ModelLoadError("failed"), "model_load_failed", 503, "server_error"),
    (QueueFullError(1, 2), "queue_full", 429, "rate_limit_error"),
    (EngineDrainingError("draining"), "draining", 503, "server_error"),
    (RequestFailedError("failed"), "request_failed", 500, "server_error"),
    (EngineDeadError("dead"), "engine_dead", 500, "server_error"),
    (ModelError("broken"), "internal_error", 500, "server_error"),
    (ValueError("a bug"), "internal_error", 500, "server_error"),
    (HTTPException(418), "invalid_request", 418, "invalid_request_error"),
    (HTTPException(502), "internal_error", 500, "server_error"),
]


@pytest.mark.parametrize(("error", "code", "status", "kind"), CODES_BY_ERROR)
def test_every_exception_has_a_code(error: Exception, code: str, status: int, kind: str) -> None:
    api_error = to_api_error(error)
    body = api_error.body["error"]
    assert (body["code"], api_error.status, body["type"]) == (code, status, kind)


def test_the_docs_list_every_code_with_its_status() -> None:
    section = PAGE.split("\n## Errors\n")[1].split("\n## ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| `")]
    documented = [(code.strip(" `"), int(status)) for _, code, status, *_ in rows]
    assert documented == [(code.value, code.status) for code in ErrorCode]


def test_every_code_is_in_use_and_every_error_has_one() -> None:
    used = set()
    for call, node in _api_errors():
        assert node.value.id == "ErrorCode", call  # type: ignore[attr-defined]
        used.add(node.attr)
    indirect = {"HOST_NOT_ALLOWED", "ORIGIN_NOT_ALLOWED"}
    of_the_engine = {
        ErrorCode(code).name for error, code, *_ in CODES_BY_ERROR if _has(error, code)
    }
    assert used | indirect | of_the_engine == set(ErrorCode.__members__)


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("GET", "/nonsense", None, ErrorCode.UNKNOWN_URL),
        ("GET", "/v1/models/nonsense", None, ErrorCode.MODEL_NOT_FOUND),
        ("PUT", "/v1/models", None, ErrorCode.METHOD_NOT_SUPPORTED),
        ("POST", "/v1/completions", b"{", ErrorCode.INVALID_JSON),
        ("POST", "/v1/completions", b"{}", ErrorCode.MISSING_REQUIRED_PARAMETER),
        ("POST", "/v1/completions", b'{"prompt": 1}', ErrorCode.INVALID_TYPE),
        ("POST", "/v1/completions", b'{"prompt": "a", "n": 0}', ErrorCode.INVALID_VALUE),
    ],
)
def test_the_server_sends_the_code(
    server: ServerProcess, method: str, path: str, body: bytes | None, code: ErrorCode
) -> None:
    response = request(server.url, method, path, body)
    assert (response.error["code"], response.status) == (code, code.status)


def _has(error: Exception, code: str) -> bool:
    return isinstance(error, HeadraceError) and error.code == code


def _api_errors() -> Iterator[tuple[str, ast.Attribute]]:
    """The error code of every ApiError in the server's source, with its file."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("ApiError", "_retryable"):
                code = node.args[0]
                if isinstance(code, ast.Attribute):
                    yield path.name, code
