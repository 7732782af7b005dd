"""The pages of runs in a real Chromium."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Page, expect

from headrace.control.operations.runs import list_runs, read_run
from headrace.control.resources import RunState
from headrace.testing.browser import COLOR_SCHEMES, WIDTHS, BrowserSession, ColorScheme
from headrace.testing.example_runs import add_artifact, add_running_run, complete_run
from headrace.testing.processes.control_api import ControlApi

pytestmark = pytest.mark.xdist_group("browser")

MANIFEST = "name: from-the-browser\nrun: echo hello\n"
WRONG_MANIFEST = "name: from-the-browser\nruns: echo hello\nports: [6006, 6006]\n"


class Served(NamedTuple):
    api: ControlApi
    url: str
    run_id: str
    """A running one; another one is completed."""


@pytest.fixture
def served(api: ControlApi, tmp_path: Path) -> Iterator[Served]:
    now = api.context.now()
    add_artifact(api.layout, tmp_path / "scratch", {"a/adapter.bin": b"weights"})
    complete_run(api.store, add_running_run(api.store, api.layout, now), now)
    run_id = add_running_run(api.store, api.layout, api.context.now())
    with api.serving() as url:
        yield Served(api, url, run_id)


@pytest.mark.parametrize("color_scheme", COLOR_SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_is_accessible_and_fits(
    served: Served, open_browser, width: int, color_scheme: ColorScheme
) -> None:
    session: BrowserSession = open_browser(
        served.url, served.api.admin_token, width=width, color_scheme=color_scheme
    )
    pages = {"runs": "runs", "run": f"runs/{served.run_id}", "new-run": "runs/new"}
    for name, path in pages.items():
        session.page.goto(f"/dashboard/{path}")
        session.page.wait_for_load_state("load")
        session.check_width()
        session.check_accessibility()
        session.screenshot(name)


def test_a_run_is_created_reproduced_and_terminated_by_mouse(served: Served, open_browser) -> None:
    page: Page = open_browser(served.url, served.api.admin_token).page
    page.get_by_role("link", name="Runs").click()
    page.get_by_role("link", name="New run").click()
    page.get_by_label("Manifest (YAML)").fill(MANIFEST)
    page.get_by_role("button", name="Check only").click()
    expect(page.get_by_text("The manifest is valid.")).to_be_visible()
    page.get_by_role("button", name="Create run").click()
    first = _newest(served.api)
    expect(page.get_by_text(f"Created run {first}.")).to_be_visible()
    page.get_by_role("button", name="Reproduce").click()
    expect(page.get_by_text(f"which reproduces {first}.")).to_be_visible()
    second = _newest(served.api)
    assert read_run(served.api.store, second).reproduced_from == first
    page.get_by_role("button", name="Terminate").click()
    expect(page.get_by_text(f"Run {second} is terminated.")).to_be_visible()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text(f"Deleted run {second}.")).to_be_visible()
    expect(page.get_by_role("link", name=first)).to_be_visible()


def test_a_run_is_reproduced_and_terminated_by_keyboard(served: Served, open_browser) -> None:
    session: BrowserSession = open_browser(served.url, served.api.admin_token)
    page = session.page
    session.tab_to(page.get_by_role("link", name="Runs"))
    page.keyboard.press("Enter")
    session.tab_to(page.get_by_role("link", name=served.run_id))
    page.keyboard.press("Enter")
    session.tab_to(page.get_by_role("button", name="Terminate"))
    page.keyboard.press("Enter")
    expect(page.get_by_text(f"Run {served.run_id} is terminating.")).to_be_visible()
    session.tab_to(page.get_by_role("button", name="Reproduce"))
    page.keyboard.press("Enter")
    expect(page.get_by_text(f"which reproduces {served.run_id}.")).to_be_visible()
    assert read_run(served.api.store, served.run_id).state is RunState.TERMINATING


def test_problems_of_a_manifest_are_shown_at_their_lines(served: Served, open_browser) -> None:
    session: BrowserSession = open_browser(served.url, served.api.admin_token)
    page = session.page
    page.goto("/dashboard/runs/new")
    page.get_by_label("Manifest (YAML)").fill(WRONG_MANIFEST)
    session.tab_to(page.get_by_role("button", name="Create run"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Line 2")).to_be_focused()
    expect(page.locator("#line-2")).to_contain_text("did you mean `run`?")
    expect(page.get_by_label("Manifest (YAML)")).to_have_value(WRONG_MANIFEST)
    session.accept_status(422)


def test_the_log_is_followed_searched_and_downloaded(served: Served, open_browser) -> None:
    page: Page = open_browser(served.url, served.api.admin_token).page
    page.goto(f"/dashboard/runs/{served.run_id}")
    text = page.get_by_label(f"Log of run {served.run_id}")
    expect(text).to_contain_text("epoch 1")
    log = served.api.layout.runs / served.run_id / "log"
    with log.open("a") as file:
        file.write("epoch 2\n")
    expect(text).to_contain_text("epoch 2")
    page.get_by_label("Search").fill("EPOCH 2")
    expect(text).to_have_text("epoch 2")
    with page.expect_download() as started:
        page.get_by_role("link", name="Download").click()
    assert started.value.path().read_text() == "epoch 1\nepoch 2\n"
    complete_run(served.api.store, served.run_id, served.api.context.now())
    expect(page.get_by_text("The log has ended.")).to_be_visible()
    expect(page.get_by_role("button", name="Delete")).to_be_visible()
    expect(page.get_by_role("link", name="http://127.0.0.1:45006")).to_have_count(0)


def test_artifacts_are_downloaded(served: Served, open_browser) -> None:
    page: Page = open_browser(served.url, served.api.viewer_token).page
    page.goto(f"/dashboard/runs/{served.run_id}")
    with page.expect_download() as started:
        page.get_by_role("link", name="a/adapter.bin").click()
    assert started.value.suggested_filename == "adapter.bin"
    assert started.value.path().read_bytes() == b"weights"
    with page.expect_download() as started:
        page.get_by_role("link", name="adapter.tar").click()
    assert started.value.path().read_bytes().startswith(b"a")


def _newest(api: ControlApi) -> str:
    return list_runs(api.store)[-1].run_id
