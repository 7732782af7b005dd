"""The dashboard over a real store, in the control plane's app; and a real browser."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser
from starlette.testclient import TestClient

from headrace.testing.browser import (
    WIDTHS,
    BrowserSession,
    ColorScheme,
    OpenBrowser,
    find_chromium,
    running_chromium,
)
from headrace.testing.processes.control_api import ControlApi


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

    def open_session(
        base_url: str,
        token: str | None = None,
        *,
        width: int = WIDTHS[-1],
        color_scheme: ColorScheme = "light",
    ) -> BrowserSession:
        session = BrowserSession(chromium, base_url, width=width, color_scheme=color_scheme)
        sessions.append(session)
        if token is not None:
            session.sign_in(token)
        return session

    yield open_session
    for session in sessions:
        session.close()
    assert [problem for session in sessions for problem in session.problems] == []
