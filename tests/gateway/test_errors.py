"""The gateway's own errors look like OpenAI's."""

import json

import pytest

from headrace.gateway.routing import refusals
from headrace.gateway.routing.decisions import Refused


@pytest.mark.parametrize(
    ("refused", "status", "error_type", "retries"),
    [
        (refusals.unknown_service(), 404, "invalid_request_error", False),
        (refusals.invalid_key("openllm"), 401, "invalid_request_error", False),
        (refusals.disabled("openllm"), 503, "server_error", False),
        (refusals.no_targets("openllm"), 503, "server_error", False),
        (refusals.service_gone("openllm"), 503, "server_error", False),
        (refusals.queue_full("openllm", 7), 429, "rate_limit_error", True),
        (refusals.queue_timeout("openllm", 120.0), 503, "server_error", True),
    ],
)
def test_body_and_status(refused: Refused, status, error_type, retries):
    error = json.loads(refusals.error_body(refused))["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == error_type
    assert error["code"] == refused.code
    assert error["message"].endswith(".")
    assert refused.status == status
    assert (refused.retry_after_s is not None) is retries
