"""What a user does with services, in a real Chromium: by mouse and by keyboard."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Dialog, Locator, Page, expect

from headrace.control.operations.gateways import read_gateway
from headrace.control.operations.services import create_service
from headrace.control.operations.tokens import remove_token
from headrace.control.resources import Event, EventReason, ReplicaState, RevisionPhase
from headrace.testing.browser import OpenBrowser
from headrace.testing.example_services import add_example_history, add_example_service
from headrace.testing.processes.control_api import ControlApi

pytestmark = pytest.mark.xdist_group("browser")

MANIFEST = "message: A second one\nmodel: smollm2-135m\n"
WRONG_MANIFEST = "message: A second one\nmodell: smollm2-135m\nautoscaling: {min: 3, max: 2}\n"


class Served(NamedTuple):
    api: ControlApi
    url: str


@pytest.fixture
def served(api: ControlApi) -> Iterator[Served]:
    """A store with the service `openllm`, behind a real server."""
    add_example_service(api.store, "openllm", api.context.now())
    with api.serving() as url:
        yield Served(api, url)


def test_a_service_gets_a_revision_and_traffic_by_mouse(
    served: Served, open_browser: OpenBrowser
) -> None:
    session = open_browser(served.url, served.api.admin_token)
    page = session.page
    page.get_by_label("Name").fill("chat")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("status")).to_have_text("Created service chat.")
    page.get_by_role("link", name="Create one").click()
    page.get_by_label("Manifest").fill(MANIFEST)
    page.get_by_role("button", name="Check only").click()
    expect(page.get_by_role("status")).to_have_text("The manifest is valid.")
    page.get_by_role("button", name="Create revision").click()
    expect(page.get_by_role("status")).to_have_text("Created revision 1.")
    page.get_by_role("link", name="Traffic").click()
    expect(page.get_by_label("Revision 1, port 8000")).to_have_value("100")
    page.get_by_role("button", name="Apply", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("Traffic: pending.")
    expect(page.get_by_role("img", name="Requested traffic: 100 % to revision 1")).to_be_visible()
    gateway = read_gateway(served.api.store, "chat")
    assert gateway is not None
    assert gateway.is_enabled
    assert [(one.number, one.weight) for one in gateway.targets] == [(1, 100)]


def test_a_split_is_changed_by_keyboard(served: Served, open_browser: OpenBrowser) -> None:
    session = open_browser(served.url, served.api.admin_token)
    page = session.page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    expect(page.get_by_role("link", name="Skip to content")).to_be_in_viewport()
    _tab_to(page, page.get_by_role("link", name="openllm"))
    page.keyboard.press("Enter")
    _tab_to(page, page.get_by_role("link", name="Traffic"))
    page.keyboard.press("Enter")
    _tab_to(page, page.get_by_label("Revision 2, port 8000"))
    page.keyboard.press("Control+a")
    page.keyboard.type("40")
    expect(page.get_by_text("weights sum to 115, they must sum to 100")).to_have_count(2)
    _tab_to(page, page.get_by_label("Revision 3, port 8000"))
    page.keyboard.press("Control+a")
    page.keyboard.type("60")
    bar = page.get_by_role("img", name="Preview: 40 % to revision 2, 60 % to revision 3")
    expect(bar).to_be_visible()
    expect(page.get_by_label("Manifest with line numbers")).to_contain_text("weight: 40")
    _tab_to(page, page.get_by_role("button", name="Apply", exact=True))
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Traffic: ")
    gateway = read_gateway(served.api.store, "openllm")
    assert gateway is not None
    assert [(one.number, one.weight) for one in gateway.targets] == [(2, 40), (3, 60)]


def test_the_boundary_of_the_bar_is_moved(served: Served, open_browser: OpenBrowser) -> None:
    session = open_browser(served.url, served.api.admin_token)
    page = session.page
    page.goto("/dashboard/services/openllm/traffic")
    handle = page.get_by_role("slider", name="Boundary between revision 2 and revision 3")
    expect(handle).to_have_attribute("aria-valuenow", "25")
    _tab_to(page, handle)
    page.keyboard.press("PageUp")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_label("Revision 2, port 8000")).to_have_value("34")
    expect(page.get_by_label("Revision 3, port 8000")).to_have_value("66")
    expect(page.get_by_role("img", name="Preview: 34 % to revision 2, 66 %")).to_be_visible()
    page.keyboard.press("End")
    expect(page.get_by_label("Revision 2, port 8000")).to_have_value("100")
    bar = page.get_by_role("group", name="Traffic split").bounding_box()
    box = handle.bounding_box()
    assert bar is not None
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(bar["x"] + bar["width"] / 2, bar["y"] + 5, steps=4)
    page.mouse.up()
    expect(handle).to_have_attribute("aria-valuenow", "50")
    expect(page.get_by_role("img", name="Preview: 50 % to revision 2, 50 %")).to_be_visible()
    session.check_accessibility()


def test_an_invalid_split_is_refused_with_the_manifests_checks(
    served: Served, open_browser: OpenBrowser
) -> None:
    session = open_browser(served.url, served.api.admin_token)
    page = session.page
    page.goto("/dashboard/services/openllm/traffic")
    page.get_by_label("Revision 2, port 8000").fill("30")
    page.get_by_role("button", name="Apply", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("weights sum to 105")
    expect(page.get_by_role("alert")).to_be_focused()
    expect(page.get_by_label("Revision 2, port 8000")).to_have_value("30")
    page.get_by_label("Manifest (YAML)").fill(
        "enabled: true\ntargets:\n- {number: 9, weight: 100}\n"
    )
    page.get_by_role("button", name="Apply YAML").click()
    expect(page.get_by_role("alert")).to_contain_text("has no revision 9; it has 2, 3")
    page.get_by_label("Manifest (YAML)").fill(
        "enabled: true\ntargets: [{number: 3, weight: 100}]\nsticky: user\n"
    )
    page.get_by_role("button", name="Apply YAML").click()
    expect(page.get_by_role("status")).to_contain_text("Traffic: ")
    page.get_by_role("link", name="Traffic").click()
    page.get_by_label("Revision 2, port 8000").fill("20")
    page.get_by_label("Revision 3, port 8000").fill("80")
    expect(page.get_by_label("Manifest with line numbers")).to_contain_text("sticky: user")
    _forget(session.problems, "422")


def test_problems_of_a_manifest_are_shown_at_their_lines(
    served: Served, open_browser: OpenBrowser
) -> None:
    session = open_browser(served.url, served.api.admin_token)
    page = session.page
    page.goto("/dashboard/services/openllm/revisions/new")
    page.get_by_label("Manifest (YAML)").fill(WRONG_MANIFEST)
    _tab_to(page, page.get_by_role("button", name="Create revision"))
    page.keyboard.press("Enter")
    alert = page.get_by_role("alert")
    expect(alert).to_be_focused()
    expect(alert).to_contain_text("did you mean `model`?")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Line 2")).to_be_focused()
    page.keyboard.press("Enter")
    line = page.locator("#line-2")
    expect(line).to_be_in_viewport()
    expect(line).to_contain_text("modell: smollm2-135m")
    expect(line).to_contain_text("did you mean `model`?")
    expect(page.get_by_label("Manifest (YAML)")).to_have_value(WRONG_MANIFEST)
    page.get_by_label("Manifest (YAML)").fill(MANIFEST)
    page.get_by_role("button", name="Create revision").click()
    expect(page.get_by_role("status")).to_have_text("Created revision 4.")
    _forget(session.problems, "422")


def test_a_revision_is_terminated_after_a_question(
    served: Served, open_browser: OpenBrowser
) -> None:
    session = open_browser(served.url, served.api.admin_token)
    page = session.page
    page.goto("/dashboard/services/openllm/revisions/2")
    questions: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        questions.append(dialog.message)
        dialog.dismiss()

    page.once("dialog", dismiss)
    page.get_by_role("button", name="Terminate").click()
    assert questions == ["Terminate revision 2 permanently? Its open requests finish first."]
    assert _phase(served.api, 2) is RevisionPhase.ACTIVE
    page.reload()
    page.once("dialog", lambda dialog: dialog.accept())
    _tab_to(page, page.get_by_role("button", name="Terminate"))
    page.keyboard.press("Enter")
    expect(page.get_by_text("Terminating revision 2.")).to_be_visible()
    assert _phase(served.api, 2) is RevisionPhase.TERMINATING
    expect(page.get_by_role("button", name="Terminate")).to_have_count(0)


def test_pages_follow_the_store_without_a_reload(served: Served, open_browser: OpenBrowser) -> None:
    session = open_browser(served.url, served.api.admin_token)
    page = session.page
    create_service(served.api.store, "later", served.api.context.now())
    link = page.get_by_role("link", name="openllm")
    link.focus()
    expect(page.get_by_role("link", name="later")).to_be_visible()
    expect(link).to_be_focused()
    page.goto("/dashboard/services/openllm/events")
    event = Event(
        served.api.context.now(), "replica r", EventReason.FAILED, "<b>why</b>", service="openllm"
    )
    with served.api.store.begin() as tx:
        tx.add_event(event)
    expect(page.get_by_role("cell", name="<b>why</b>")).to_be_visible()


def test_a_log_is_followed_searched_and_downloaded(
    served: Served, open_browser: OpenBrowser, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(2000)))
    with served.api.store.read() as queries:
        replica = queries.replicas("openllm", 3, live_only=True)[0]
    replica = replace(replica, replica_id="openllm-3-zzzzz", log_path=str(log))
    with served.api.store.begin() as tx:
        tx.add_replica(replica)
    session = open_browser(served.url, served.api.admin_token)
    page = session.page
    page.goto(f"/dashboard/services/openllm/replicas/{replica.replica_id}")
    text = page.get_by_label(f"Log of replica {replica.replica_id}")
    expect(text).to_contain_text("line 1999")
    expect(text).not_to_contain_text("line 999\n")
    with log.open("a") as file:
        file.write("<script>a new line\n")
    expect(text).to_contain_text("<script>a new line")
    is_at_end = "pre => pre.scrollHeight - pre.scrollTop - pre.clientHeight < 2"
    assert text.evaluate(is_at_end)
    page.get_by_label("Search").fill("NEW")
    expect(text).to_have_text("<script>a new line")
    page.get_by_label("Search").fill("")
    page.get_by_label("Follow").uncheck()
    text.evaluate("pre => pre.scrollTo(0, 0)")
    with log.open("a") as file:
        file.write("the last line\n")
    expect(text).to_contain_text("the last line")
    assert text.evaluate("pre => pre.scrollTop") == 0
    with page.expect_download() as started:
        page.get_by_role("link", name="Download").click()
    assert started.value.suggested_filename == f"{replica.replica_id}.log"
    assert started.value.path().read_text() == log.read_text()
    with served.api.store.begin() as tx:
        now = served.api.context.now()
        tx.change_replica(replica.replica_id, ReplicaState.READY, ReplicaState.FAILED, now)
    expect(page.get_by_text("The log has ended.")).to_be_visible()


def test_charts_show_each_revision_and_the_time_under_the_cursor(
    served: Served, open_browser: OpenBrowser
) -> None:
    add_example_history(served.api.store, "openllm", (2, 3), served.api.context.now())
    session = open_browser(served.url, served.api.admin_token)
    page = session.page
    page.goto("/dashboard/services/openllm/metrics")
    chart = page.locator("figure").filter(has_text="Time to first token")
    items = chart.get_by_role("listitem")
    expect(items).to_have_count(2)
    expect(items.first).to_have_text(re.compile(r"Revision 2: 0\.\d+ s / 0\.\d+ s$"))
    chart.get_by_role("img").focus()
    page.keyboard.press("ArrowLeft")
    expect(items.first).to_have_text(re.compile(r" at \d+:\d\d:\d\d"))
    before = items.first.text_content()
    page.keyboard.press("ArrowLeft")
    expect(items.first).not_to_have_text(before or "")
    page.get_by_role("link", name="Last day").click()
    expect(page.get_by_role("link", name="Last day")).to_have_attribute("aria-current", "page")


def test_the_snippet_is_copied(served: Served, open_browser: OpenBrowser) -> None:
    session = open_browser(served.url, served.api.admin_token)
    page = session.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto("/dashboard/services/openllm")
    page.get_by_role("button", name="Copy curl command").click()
    expect(page.get_by_role("button", name="Copy curl command")).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("curl http://localhost:8080/openllm/v1/chat/completions")


def test_a_viewer_sees_everything_and_changes_nothing(
    served: Served, open_browser: OpenBrowser
) -> None:
    session = open_browser(served.url, served.api.viewer_token)
    page = session.page
    for path in ("", "/openllm", "/openllm/revisions", "/openllm/revisions/3", "/openllm/traffic"):
        page.goto(f"/dashboard/services{path}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        expect(page.get_by_role("button", name=re.compile("Create|Apply|Terminate"))).to_have_count(
            0
        )
    expect(page.get_by_label("Revision 2, port 8000")).to_be_disabled()


def test_a_page_leads_to_sign_in_when_its_session_ends(
    served: Served, open_browser: OpenBrowser
) -> None:
    session = open_browser(served.url, served.api.viewer_token)
    remove_token(served.api.store, "viewer", served.api.context.now())
    expect(session.page.get_by_label("API token")).to_be_visible()
    _forget(session.problems, "401")


def test_a_browser_signs_out(served: Served, open_browser: OpenBrowser) -> None:
    session = open_browser(served.url, served.api.admin_token)
    session.page.get_by_role("button", name="Sign out").click()
    expect(session.page.get_by_label("API token")).to_be_visible()
    session.page.goto("/dashboard/services")
    expect(session.page.get_by_label("API token")).to_be_visible()


def test_a_link_signs_in_and_works_once(served: Served, open_browser: OpenBrowser) -> None:
    session = open_browser(served.url, served.api.viewer_token)
    path = served.api.client(served.api.admin_token).post("/v1/dashboard/links").json()["path"]
    session.page.goto(path)
    expect(session.page.get_by_role("heading", name="Services", exact=True)).to_be_visible()
    expect(session.page.get_by_text("admin (admin)")).to_be_visible()
    session.page.goto(path)
    expect(session.page.get_by_role("alert")).to_contain_text("used before")
    _forget(session.problems, "401")


def _tab_to(page: Page, locator: Locator) -> None:
    """Press Tab until it has the focus, as a keyboard user would."""
    target = locator.element_handle()
    for _ in range(100):
        if target.evaluate("element => element === document.activeElement"):
            outline = target.evaluate("element => getComputedStyle(element).outlineStyle")
            assert outline != "none"
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"not reached with Tab: {locator}")


def _phase(api: ControlApi, number: int) -> RevisionPhase:
    with api.store.read() as queries:
        revision = queries.revision("openllm", number)
    assert revision is not None
    return revision.phase


def _forget(problems: list[str], status: str) -> None:
    """Chromium logs each response with an error status."""
    problems[:] = [problem for problem in problems if f"status of {status}" not in problem]
