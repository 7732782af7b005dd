"""The log of the requests through a platform's gateway."""

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from headrace.control.layout import Layout
from headrace.testing.processes.platform_process import PlatformProcess

pytestmark = [pytest.mark.xdist_group("platforms"), pytest.mark.slow]

SECRET = "a-text-that-no-log-may-have"


def status_of(platform: PlatformProcess, request_id: str) -> int:
    """Of a request to the service ``logged``, whose endpoint is disabled."""
    body = json.dumps({"model": "m", "prompt": SECRET}).encode()
    headers = {"Content-Type": "application/json", "X-Request-Id": request_id}
    url = f"{platform.url}/logged/v1/completions?{SECRET}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_up_with_log_requests_logs_a_line_for_each_request(platform: PlatformProcess) -> None:
    with platform.client() as client:
        client.create_service("logged")
    platform.wait_until(lambda: status_of(platform, "early") == 503, "the gateway has the service")
    assert status_of(platform, "the-logged-one") == 503
    log = Layout(platform.home).daemon_log("gateway")

    def lines() -> list[dict[str, Any]]:
        found = [line for line in log.read_text().splitlines() if line.startswith("{")]
        return [one for one in map(json.loads, found) if one["request_id"] == "the-logged-one"]

    platform.wait_until(lambda: len(lines()) == 1, "the line is written")
    (line,) = lines()
    assert (line["service"], line["method"], line["status"]) == ("logged", "POST", 503)
    assert line["path"] == "/v1/completions"
    assert SECRET not in log.read_text()
