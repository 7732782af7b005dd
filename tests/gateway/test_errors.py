"""The gateway's own errors look like OpenAI's."""

import json

import pytest

from headrace.gateway import errors
from headrace.gateway.errors import ErrorResponse


@pytest.mark.parametrize(
    ("refused", "status", "error_type", "retries"),
    [
        (errors.unknown_service(), 404, "invalid_request_error", False),
        (errors.invalid_api_key("openllm"), 401, "invalid_request_error", False),
        (errors.service_disabled("openllm"), 503, "server_error", False),
        (errors.no_targets("openllm"), 503, "server_error", False),
        (errors.service_gone("openllm"), 503, "server_error", False),
        (errors.queue_full("openllm", 7), 429, "rate_limit_error", True),
        (errors.queue_timeout("openllm", 120.0), 503, "server_error", True),
    ],
)
def test_errors_have_openais_shape(refused: ErrorResponse, status, error_type, retries):
    error = json.loads(errors.error_body(refused))["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == error_type
    assert error["code"] == refused.code
    assert error["message"].endswith(".")
    assert refused.status == status
    assert (refused.retry_after_s is not None) is retries
