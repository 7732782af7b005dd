"""The pages of requests in a real Chromium, with the records of a real gateway."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Page, expect

from headrace.control.operations.credentials import hash_credential
from headrace.control.operations.services import create_service
from headrace.core.gateway.routes import ReplicaRoute, TargetRoute
from headrace.testing.browser import COLOR_SCHEMES, WIDTHS, BrowserSession, ColorScheme
from headrace.testing.processes.control_api import ControlApi
from headrace.testing.processes.gateway_process import GatewayProcess
from headrace.testing.processes.replica_process import MockServerProcess
from headrace.testing.route_tables import service_route

pytestmark = pytest.mark.xdist_group("browser")

KEY = "hrk_a-secret-key"
PROMPT = "a secret prompt"


class Served(NamedTuple):
    api: ControlApi
    url: str
    gateway: GatewayProcess


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """With records of: a stream, after a failed attempt at a replica that does not exist; a
    response; and a request without a key."""
    with (
        MockServerProcess("--model", "smollm2-135m", "--tokens-per-s", "500", name="one") as mock,
        GatewayProcess(tmp_path_factory.mktemp("gateway")) as gateway,
    ):
        gone = ReplicaRoute("gone", "127.0.0.1", 1)
        key = (hash_credential(KEY),)
        routes = {
            number: service_route(
                TargetRoute(number, 8000, 100, replicas), name="openllm", key_hashes=key
            )
            for number, replicas in ((1, (gone, mock.route)), (2, (mock.route,)))
        }
        other = service_route(TargetRoute(1, 8000, 100, (mock.route,)), name="chat")
        gateway.follow(routes[1], other)
        while not any(one.num_failures_total for one in gateway.stats().replicas.values()):
            send(gateway, "openllm", KEY, stream=True)
        gateway.follow(routes[2], other)
        send(gateway, "openllm", KEY, stream=False)
        send(gateway, "openllm", None, stream=False)
        send(gateway, "chat", None, stream=True)
        yield gateway


@pytest.fixture
def served(tmp_path: Path, gateway: GatewayProcess) -> Iterator[Served]:
    api = ControlApi(tmp_path, gateway_admin_url=gateway.admin_url)
    for name in ("openllm", "chat"):
        create_service(api.store, name, api.context.now())
    with api.serving() as url:
        yield Served(api, url, gateway)
    api.close()


@pytest.mark.parametrize("color_scheme", COLOR_SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_is_accessible_and_fits(
    served: Served, open_browser, width: int, color_scheme: ColorScheme
) -> None:
    session: BrowserSession = open_browser(
        served.url, served.api.viewer_token, width=width, color_scheme=color_scheme
    )
    page = session.page
    page.goto("/dashboard/requests?revision=1&service=openllm")
    session.check_width()
    session.check_accessibility()
    session.screenshot("requests")
    page.locator("tbody a").first.click()
    expect(page.get_by_role("heading", name="Timeline")).to_be_visible()
    session.check_width()
    session.check_accessibility()
    session.screenshot("request")


def test_requests_are_filtered(served: Served, open_browser) -> None:
    page: Page = open_browser(served.url, served.api.viewer_token).page
    page.get_by_role("link", name="Requests").click()
    rows = page.get_by_role("region", name="Requests").locator("tbody tr")
    expect(rows.nth(3)).to_be_visible()
    num_all = rows.count()
    page.get_by_label("Service").select_option("chat")
    page.get_by_role("button", name="Filter").click()
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("chat/1")
    page.get_by_role("link", name="Clear").click()
    expect(rows).to_have_count(num_all)
    page.get_by_label("Status").select_option("4xx")
    page.get_by_role("button", name="Filter").click()
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("401")
    page.get_by_label("Status").select_option("")
    page.get_by_label("Slower than (s)").fill("3600")
    page.keyboard.press("Enter")
    expect(page.get_by_text("There are no such requests.")).to_be_visible()
    page.goto("/dashboard/requests?revision=2")
    expect(rows).to_have_count(1)
    expect(page.get_by_label("Revision")).to_have_value("2")
    send(served.gateway, "openllm", KEY, stream=True)
    expect(rows).to_have_count(2)


def test_the_timeline_of_a_retried_stream_is_shown_by_keyboard(
    served: Served, open_browser
) -> None:
    session: BrowserSession = open_browser(served.url, served.api.viewer_token)
    page = session.page
    page.goto("/dashboard/requests?revision=1&service=openllm")
    row = page.get_by_role("row").filter(has=page.get_by_role("cell", name="1", exact=True))
    link = row.get_by_role("link").last
    session.tab_to(link)
    page.keyboard.press("Enter")
    phases = page.get_by_role("region", name="Timeline").locator("tbody tr")
    expect(phases.filter(has_text="connect failed")).to_contain_text("gone")
    expect(phases.filter(has_text="Until first token (prefill)")).to_contain_text("one")
    stream = phases.filter(has_text="Stream (decode)")
    expect(stream).to_contain_text("ok")
    width = stream.locator("rect").get_attribute("width") or ""
    assert float(width.removesuffix("%")) > 1
    expect(page.get_by_text("8 completion")).to_be_visible()


def test_neither_texts_nor_keys_are_shown(served: Served) -> None:
    client = served.api.browser(served.api.admin_token)
    page = client.get("/dashboard/requests").text
    assert "openllm" in page
    records = json.loads(urllib.request.urlopen(f"{served.gateway.admin_url}/requests").read())
    for record in records:
        page += client.get(f"/dashboard/requests/{record['record_id']}").text
    assert "Timeline" in page
    assert PROMPT not in page
    assert KEY not in page


def send(gateway: GatewayProcess, service: str, key: str | None, *, stream: bool) -> None:
    body = {
        "model": "smollm2-135m",
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": 8,
        "stream": stream,
        **({"stream_options": {"include_usage": True}} if stream else {}),
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{gateway.port}/{service}/v1/chat/completions",
        json.dumps(body).encode(),
        {
            "Content-Type": "application/json",
            **({} if key is None else {"Authorization": f"Bearer {key}"}),
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=30.0) as response:
            response.read()
    except urllib.error.HTTPError as error:
        error.close()
