"""Keys, secrets, tokens and the machine in a real Chromium."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from playwright.sync_api import Page, expect

from headrace.control.operations.keys import create_key, list_keys
from headrace.control.operations.secrets import list_secrets, put_secret, read_secrets
from headrace.control.operations.services import create_service
from headrace.control.operations.tokens import find_token
from headrace.testing.browser import COLOR_SCHEMES, WIDTHS, BrowserSession, ColorScheme
from headrace.testing.processes.control_api import ControlApi

pytestmark = pytest.mark.xdist_group("browser")

PAGES = {
    "keys": "access/keys",
    "secrets": "access/secrets",
    "tokens": "access/tokens",
    "machine": "machine",
}


class Served(NamedTuple):
    api: ControlApi
    url: str


@pytest.fixture
def served(api: ControlApi) -> Iterator[Served]:
    """With the service `openllm`, a key and a secret."""
    now = api.context.now()
    create_service(api.store, "openllm", now)
    create_key(api.store, "openllm", "web", now)
    put_secret(api.store, api.context.vault, "HF_TOKEN", "hf_value", now)
    with api.serving() as url:
        yield Served(api, url)


@pytest.mark.parametrize("color_scheme", COLOR_SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_is_accessible_and_fits(
    served: Served, open_browser, width: int, color_scheme: ColorScheme
) -> None:
    session: BrowserSession = open_browser(
        served.url, served.api.admin_token, width=width, color_scheme=color_scheme
    )
    for name, path in PAGES.items():
        session.page.goto(f"/dashboard/{path}")
        session.page.wait_for_load_state("load")
        session.check_width()
        session.check_accessibility()
        session.screenshot(name)


def test_a_key_is_created_copied_and_revoked_by_mouse(served: Served, open_browser) -> None:
    session: BrowserSession = open_browser(served.url, served.api.admin_token)
    page = session.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("link", name="Access").click()
    page.get_by_label("Name").fill("ci")
    page.get_by_role("button", name="Create key").click()
    shown = page.get_by_label("new key", exact=True)
    secret = shown.text_content() or ""
    assert secret.startswith("hrk_")
    session.check_accessibility()
    page.get_by_role("button", name="Copy new key").click()
    expect(page.get_by_role("button", name="Copy new key")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == secret
    page.get_by_role("link", name="API keys").click()
    expect(page.get_by_role("rowheader", name="ci")).to_be_visible()
    assert secret not in page.content()
    page.once("dialog", lambda dialog: dialog.accept())
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="ci"))
    row.get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("Revoked key ci of service openllm.")).to_be_visible()
    assert [key.name for key in list_keys(served.api.store, "openllm")] == ["web"]


def test_a_secret_is_stored_and_deleted_by_keyboard(served: Served, open_browser) -> None:
    session: BrowserSession = open_browser(served.url, served.api.admin_token)
    page = session.page
    session.tab_to(page.get_by_role("link", name="Access"))
    page.keyboard.press("Enter")
    session.tab_to(page.get_by_role("link", name="Secrets"))
    page.keyboard.press("Enter")
    session.tab_to(page.get_by_label("Name"))
    page.keyboard.type("API")
    session.tab_to(page.get_by_label("Value"))
    page.keyboard.type("a-secret-value")
    session.tab_to(page.get_by_role("button", name="Store secret"))
    page.keyboard.press("Enter")
    expect(page.get_by_text("Stored secret API.")).to_be_visible()
    assert "a-secret-value" not in page.content()
    store, vault = served.api.store, served.api.context.vault
    assert read_secrets(store, vault, ["API"]) == {"API": "a-secret-value"}
    page.once("dialog", lambda dialog: dialog.accept())
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="API"))
    session.tab_to(row.get_by_role("button", name="Delete"))
    page.keyboard.press("Enter")
    expect(page.get_by_text("Deleted secret API.")).to_be_visible()
    assert list_secrets(store) == ["HF_TOKEN"]


def test_a_token_is_created_and_revoked(served: Served, open_browser) -> None:
    page: Page = open_browser(served.url, served.api.admin_token).page
    page.goto("/dashboard/access/tokens")
    page.get_by_label("Name").fill("ci")
    page.get_by_label("Role").select_option("admin")
    page.get_by_role("button", name="Create token").click()
    secret = page.get_by_label("new token", exact=True).text_content() or ""
    other: Page = open_browser(served.url, secret).page
    expect(other.get_by_text("ci (admin)")).to_be_visible()
    page.once("dialog", lambda dialog: dialog.accept())
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="ci"))
    row.get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("Revoked token ci.")).to_be_visible()
    assert find_token(served.api.store, secret) is None
    other.goto("/dashboard/machine")
    expect(other.get_by_label("API token")).to_be_visible()


def test_the_reason_of_a_refused_name_is_shown(served: Served, open_browser) -> None:
    session: BrowserSession = open_browser(served.url, served.api.admin_token)
    page = session.page
    page.goto("/dashboard/access/keys")
    page.get_by_label("Name").fill("not a name")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").filter(has_text="not a name")).to_be_visible()
    expect(page.get_by_label("Name")).to_be_focused()
    session.check_accessibility()
    session.accept_status(422)
