"""``headrace service requests``, against the real API and a real gateway."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from headrace.cli.main import build_app
from headrace.control.operations.services import create_service
from headrace.core.gateway.routes import ServiceRoute, TargetRoute
from headrace.gateway.keys import hash_key
from headrace.testing.processes.control_api import ControlApi
from headrace.testing.processes.gateway_process import GatewayProcess
from headrace.testing.processes.replica_process import MockServerProcess
from headrace.testing.raw_http import post

Headrace = Callable[..., Result]
TEXT = "a-text-that-nobody-else-may-read"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """That has forwarded a request and a stream, and rejected a request."""
    with MockServerProcess() as mock, GatewayProcess(tmp_path_factory.mktemp("gw")) as gateway:
        target = TargetRoute(7, 3000, 100, (mock.route,))
        hashes = (hash_key(b"sesame"),)
        gateway.follow(
            ServiceRoute("svc", True, (target,), key_hashes=hashes, key_names=("laptop",))
        )
        url = f"http://127.0.0.1:{gateway.port}"
        body = {"model": "mock", "prompt": TEXT, "max_tokens": 5}
        for more in ({}, {"stream": True, "stream_options": {"include_usage": True}}):
            assert post(url, "/svc/v1/completions", {**body, **more}, x_api_key="sesame").body
        assert post(url, "/svc/v1/completions", body).status == 401
        yield gateway


@pytest.fixture
def headrace(gateway: GatewayProcess, tmp_path: Path) -> Iterator[Headrace]:
    api = ControlApi(tmp_path, gateway_admin_url=gateway.admin_url)
    for name in ("svc", "idle"):
        create_service(api.store, name, datetime.now(UTC))
    with api.serving() as url:

        def run(*arguments: str, code: int = 0) -> Result:
            environment = {
                "COLUMNS": "200",
                "HEADRACE_HOME": str(tmp_path),
                "HEADRACE_API_URL": url,
                "HEADRACE_API_TOKEN": api.viewer_token,
            }
            done = CliRunner(env=environment).invoke(build_app(), ["service", *arguments])
            assert done.exit_code == code, done.output
            assert TEXT not in done.output
            return done

        yield run
    api.close()


def test_the_last_requests_are_a_table(headrace: Headrace) -> None:
    lines = headrace("requests", "svc").stdout.splitlines()
    assert lines[0] == "3 request(s) found."
    assert lines[2].split() == [
        *("When", "Status", "Revision", "Key", "Model", "Queued", "TTFT", "Total", "Tokens"),
        *("Retries", "ID", "Ended"),
    ]
    whole, stream, rejected = lines[3:]
    for line in (whole, stream):
        assert " 200 " in line
        assert " 7 " in line
        assert " laptop " in line
        assert " + 5 " in line
        assert line.endswith(" finished")
    assert rejected.endswith("rejected (invalid_api_key)")
    assert "401" in rejected


def test_filters_limits_and_json(headrace: Headrace) -> None:
    found = json.loads(headrace("requests", "svc", "--json").stdout)
    assert [one["status"] for one in found] == [200, 200, 401]
    last = json.loads(headrace("requests", "svc", "--limit", "1", "--json").stdout)
    assert last == found[-1:]
    assert "use --limit N" in headrace("requests", "svc", "--limit", "1").stdout
    good = json.loads(headrace("requests", "svc", "--status", "2xx", "--json").stdout)
    assert good == found[:2]
    assert json.loads(headrace("requests", "svc", "--revision", "8", "--json").stdout) == []
    assert headrace("requests", "idle").stdout.startswith("0 request(s) found.")
    assert "not found" in headrace("requests", "nope", code=1).stderr
    assert headrace("requests", "svc", "--status", "9", code=1).stderr.startswith("Error: ")


def test_one_request_has_a_timeline(headrace: Headrace) -> None:
    stream = json.loads(headrace("requests", "svc", "--json").stdout)[1]
    assert stream["is_stream"]
    text = headrace("requests", "svc", "--id", stream["record_id"]).stdout
    assert f"ID {stream['record_id']}" in text
    assert "Request POST /v1/completions" in text
    assert "Chunks " in text
    timeline = [line.split() for line in text.partition("Timeline\n")[2].splitlines()]
    assert [words[3] for words in timeline if words[3] != "connect"][-2:] in (
        ["first_byte", "response"],
        ["first_byte"],
    )
    assert all(words[-2:] == ["at", "mock"] for words in timeline)
    shown = json.loads(headrace("requests", "svc", "--id", stream["record_id"], "--json").stdout)
    assert shown["timeline"][-1]["end_s"] == pytest.approx(shown["total_s"])
    assert "not found" in headrace("requests", "svc", "--id", "nope", code=1).stderr
