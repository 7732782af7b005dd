"""Live parts of pages in a real Chromium: their connections."""

from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Request, expect

from headrace.control.operations.services import create_service
from headrace.testing.browser import OpenBrowser
from headrace.testing.processes.control_api import ControlApi

pytestmark = pytest.mark.xdist_group("browser")


def open_page(page: Page, path: str) -> list[str]:
    """Fills with the addresses of the event streams that the page opens."""
    page.goto("about:blank")  # the page after the sign-in may be about to open its own
    opened: list[str] = []

    def note(request: Request) -> None:
        if request.resource_type == "eventsource":
            opened.append(request.url)

    page.on("request", note)
    with page.expect_request(lambda request: request.resource_type == "eventsource"):
        page.goto(path)
    return opened


def set_hidden(page: Page, is_hidden: bool) -> None:
    """As if its tab were in the background, or not any more."""
    page.evaluate(
        """isHidden => {
            Object.defineProperty(document, "hidden", { value: isHidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        is_hidden,
    )


def test_a_page_has_one_stream_and_none_while_it_is_hidden(
    api: ControlApi, open_browser: OpenBrowser
) -> None:
    with api.serving() as url:
        page = open_browser(url, api.admin_token).page
        opened = open_page(page, "/dashboard/services")
        with page.expect_event("requestfailed"):  # its stream is closed
            set_hidden(page, True)
        create_service(api.store, "later", api.context.now())
        set_hidden(page, True)
        assert len(opened) == 1
        expect(page.get_by_role("link", name="later")).to_have_count(0)
        set_hidden(page, False)
        expect(page.get_by_role("link", name="later")).to_be_visible()
        assert len(opened) == 2


def test_a_page_connects_again_after_a_restart_of_the_control_plane(
    api: ControlApi, open_browser: OpenBrowser
) -> None:
    with api.serving() as url:
        session = open_browser(url, api.admin_token)
        page = session.page
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("does not respond")
    create_service(api.store, "meanwhile", api.context.now())
    with api.serving(port=urlsplit(url).port or 0):
        expect(page.get_by_role("link", name="meanwhile")).to_be_visible()
        expect(alert).to_have_count(0)
        page.goto("about:blank")
    session.problems.clear()  # of requests while it did not run


def test_what_is_deleted_is_said_once(api: ControlApi, open_browser: OpenBrowser) -> None:
    create_service(api.store, "svc", api.context.now())
    with api.serving() as url:
        page = open_browser(url, api.admin_token).page
        opened = open_page(page, "/dashboard/services/svc")
        with api.store.begin() as tx:
            tx.remove_service("svc")
        expect(page.get_by_role("alert")).to_contain_text("Service 'svc' not found")
        set_hidden(page, True)
        set_hidden(page, False)
        assert len(opened) == 1


def test_a_revoked_token_leads_to_the_sign_in(api: ControlApi, open_browser: OpenBrowser) -> None:
    with api.serving() as url:
        page = open_browser(url, api.viewer_token).page
        with api.store.begin() as tx:
            tx.remove_token("viewer")
        create_service(api.store, "svc", api.context.now())
        page.wait_for_url("**/dashboard/sign-in")
