"""The dashboard over a real store, in the control plane's app; and a real browser."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from starlette.testclient import TestClient

from headrace.testing.browser import BrowserSession, find_chromium, running_chromium
from headrace.testing.processes.control_api import ControlApi

OpenBrowser = Callable[..., BrowserSession]
"""``open_browser(url, token, width=..., color_scheme=...)``: signed in with the token."""


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ControlApi]:
    api = ControlApi(tmp_path)
    yield api
    api.close()


@pytest.fixture
def admin(api: ControlApi) -> TestClient:
    """A browser without scripts, signed in as an administrator."""
    return api.browser(api.admin_token)


@pytest.fixture
def viewer(api: ControlApi) -> TestClient:
    """A browser without scripts, signed in as a viewer."""
    return api.browser(api.viewer_token)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for the tests of a file. While it runs, this thread can run no event loop."""
    executable = find_chromium()
    if executable is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with running_chromium(executable) as browser:
        yield browser


@pytest.fixture
def open_browser(chromium: Browser) -> Iterator[OpenBrowser]:
    """Opens signed-in browser sessions. Fails at the end if a page logged an error, or sent a
    request to another address."""
    sessions: list[BrowserSession] = []

    def open_session(url: str, token: str, **options: object) -> BrowserSession:
        session = BrowserSession(chromium, url, **options)  # type: ignore[arg-type]
        sessions.append(session)
        session.sign_in(token)
        return session

    yield open_session
    for session in sessions:
        session.close()
    assert [problem for session in sessions for problem in session.problems] == []
