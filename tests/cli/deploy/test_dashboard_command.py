"""`headrace dashboard`, against the control plane's real API."""

import re
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from headrace.cli.main import build_app
from headrace.testing.processes.control_api import ControlApi

Headrace = Callable[..., Result]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ControlApi]:
    api = ControlApi(tmp_path)
    yield api
    api.close()


@pytest.fixture
def headrace(api: ControlApi) -> Iterator[Headrace]:
    """Runs the command as an administrator."""
    runner = CliRunner(env={"COLUMNS": "200"})
    with api.serving() as url:
        environment = {"HEADRACE_API_URL": url, "HEADRACE_API_TOKEN": api.admin_token}

        def run(*arguments: str, **env: str) -> Result:
            return runner.invoke(build_app(), ["dashboard", *arguments], env={**environment, **env})

        yield run


def test_the_link_is_printed_and_signs_in(api: ControlApi, headrace: Headrace) -> None:
    result = headrace("--no-browser")
    assert result.exit_code == 0, result.output
    link = re.search(r"^http://127\.0\.0\.1:\d+(/dashboard/links/\w+)$", result.stdout, re.M)
    assert link is not None, result.stdout
    assert "within 120 seconds" in result.stdout
    client = api.client(None)
    assert client.get(link[1]).status_code == 200
    assert "admin (admin)" in client.get("/dashboard/services").text


def test_a_browser_is_opened_if_there_is_one(
    headrace: Headrace, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: bool(opened.append(url)) or True)
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert "/dashboard/links/" in headrace().stdout
    assert opened == []
    result = headrace(DISPLAY=":0")
    assert len(opened) == 1
    assert opened[0] not in result.stdout


def test_a_link_is_printed_if_no_browser_opens(
    headrace: Headrace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    assert "/dashboard/links/" in headrace(DISPLAY=":0").stdout


def test_an_invalid_token_is_an_error(headrace: Headrace) -> None:
    result = headrace("--no-browser", HEADRACE_API_TOKEN="hrt_wrong")
    assert result.exit_code == 1
    assert "Missing or invalid token" in result.stderr
