"""A real Chromium for tests of the dashboard, driven by Playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, sync_playwright

SCREENSHOTS_VARIABLE = "HEADRACE_TEST_SCREENSHOTS"
"""Names a folder in which screenshots of all pages are stored."""
WIDTHS = (360, 800, 1280)
COLOR_SCHEMES: tuple["ColorScheme", ...] = ("light", "dark")

ColorScheme = Literal["light", "dark"]


class OpenBrowser(Protocol):
    """Opens a browser session, signed in with the token if one is given."""

    def __call__(
        self,
        base_url: str,
        token: str | None = None,
        *,
        width: int = WIDTHS[-1],
        color_scheme: "ColorScheme" = "light",
    ) -> "BrowserSession": ...


_EXECUTABLES = ("chromium", "chromium-browser", "google-chrome")
_HEIGHT = 900
_TIMEOUT_MS = 30_000
_MAX_NUM_TABS = 200
_AXE_OPTIONS = {
    "resultTypes": ["violations"],  # the details of what passes take a third of axe's time
    "runOnly": {
        "type": "tag",
        "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    },
}


def find_chromium() -> str | None:
    """The path of the executable, from the PATH."""
    return next((path for name in _EXECUTABLES if (path := shutil.which(name))), None)


@contextmanager
def running_chromium(executable: str) -> Iterator[Browser]:
    """A headless browser. Inside the block, this thread cannot run an event loop of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        try:
            yield browser
        finally:
            browser.close()


class BrowserSession:
    """One browser profile with one page. ``problems`` has what must not happen on any page."""

    def __init__(
        self,
        browser: Browser,
        base_url: str,
        *,
        width: int = WIDTHS[-1],
        color_scheme: ColorScheme = "light",
    ) -> None:
        self.problems: list[str] = []
        self._width = width
        self._color_scheme = color_scheme
        self._base_url = base_url
        self._context = browser.new_context(
            base_url=base_url,
            viewport={"width": width, "height": _HEIGHT},
            color_scheme=color_scheme,
            reduced_motion="reduce",
        )
        self._context.set_default_timeout(_TIMEOUT_MS)
        self.page: Page = self._context.new_page()
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("request", self._on_request)

    def sign_in(self, token: str) -> None:
        """With the form; then the page is that of the services."""
        self.page.goto("/dashboard/sign-in")
        self.page.get_by_label("API token").fill(token)
        self.page.keyboard.press("Enter")
        self.page.get_by_role("heading", name="Services", exact=True).wait_for()

    def check_accessibility(self) -> None:
        """Raises AssertionError with axe's report if the page violates WCAG AA."""
        results = Axe().run(self.page, options=_AXE_OPTIONS)
        assert results.violations_count == 0, f"{self.page.url}\n{results.generate_report()}"

    def check_width(self) -> None:
        """Raises AssertionError if the page scrolls sideways."""
        wide = self.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= self._width, f"{self.page.url}: {wide} px wide at {self._width} px"

    def tab_to(self, target: Locator) -> None:
        """Press Tab until it has the focus. Raises AssertionError if that does not reach it, or if
        the focus cannot be seen."""
        element = target.element_handle()
        for _ in range(_MAX_NUM_TABS):
            if element.evaluate("element => element === document.activeElement"):
                outline = element.evaluate("element => getComputedStyle(element).outlineStyle")
                assert outline != "none", f"its focus cannot be seen: {target}"
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"not reached with Tab: {target}")

    def accept_status(self, status: int) -> None:
        """Not a problem: Chromium logs each response with an error status."""
        text = f"status of {status}"
        self.problems[:] = [problem for problem in self.problems if text not in problem]

    def screenshot(self, name: str) -> None:
        """In ``$HEADRACE_TEST_SCREENSHOTS``, if that is set."""
        folder = os.environ.get(SCREENSHOTS_VARIABLE)
        if folder:
            path = Path(folder) / f"{name}-{self._width}-{self._color_scheme}.png"
            self.page.screenshot(path=path, full_page=True)  # makes the folder

    def close(self) -> None:
        self._context.close()

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"console {message.type}: {message.text}")

    def _on_request(self, request: Request) -> None:
        """Of anything but the dashboard's own address."""
        url = urlsplit(request.url)
        if (
            url.scheme in ("http", "https", "ws", "wss")
            and url.netloc != urlsplit(self._base_url).netloc
        ):
            self.problems.append(f"request to {url.netloc}")
