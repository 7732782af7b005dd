"""The playground in a real Chromium, with a real gateway and a stand-in for a model server."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Page, expect

from headrace.control.operations.keys import create_key, dashboard_key
from headrace.core.gateway.routes import TargetRoute
from headrace.testing.browser import COLOR_SCHEMES, WIDTHS, BrowserSession, ColorScheme
from headrace.testing.certificates import write_certificate
from headrace.testing.example_services import add_example_service
from headrace.testing.processes.control_api import ControlApi
from headrace.testing.processes.gateway_process import GatewayProcess
from headrace.testing.processes.replica_process import MockServerProcess
from headrace.testing.route_tables import service_route

pytestmark = pytest.mark.xdist_group("browser")

TIMEOUT_S = 30.0


class Served(NamedTuple):
    api: ControlApi
    url: str
    gateway: GatewayProcess


@pytest.fixture(scope="module")
def mock() -> Iterator[MockServerProcess]:
    with MockServerProcess("--model", "smollm2-135m", "--tokens-per-s", "200") as mock:
        yield mock


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@pytest.fixture
def served(tmp_path: Path, mock: MockServerProcess, gateway: GatewayProcess) -> Iterator[Served]:
    """The service `openllm`, which requires no key, behind all three."""
    api = ControlApi(tmp_path, gateway_url=f"http://localhost:{gateway.port}")
    add_example_service(api.store, "openllm", api.context.now())
    gateway.follow(service_route(_target(mock)))
    with api.serving() as url:
        yield Served(api, url, gateway)
    api.close()


@pytest.mark.parametrize("color_scheme", COLOR_SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_is_accessible_and_fits(
    served: Served, open_browser, width: int, color_scheme: ColorScheme
) -> None:
    session: BrowserSession = open_browser(
        served.url, served.api.admin_token, width=width, color_scheme=color_scheme
    )
    page = session.page
    page.goto("/dashboard/playground")
    session.check_width()
    session.check_accessibility()
    page.get_by_label("Maximum tokens").fill("24")
    page.get_by_label("Message", exact=True).fill("Why is the sky blue?")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("Done")).to_be_visible()
    session.check_width()
    session.check_accessibility()
    session.screenshot("playground")


def test_a_chat_is_streamed_with_its_tokens_and_speed(served: Served, open_browser) -> None:
    page: Page = open_browser(served.url, served.api.admin_token).page
    page.get_by_role("link", name="Playground").click()
    expect(page.get_by_label("Model", exact=True)).to_have_value("smollm2-135m")
    page.get_by_label("Maximum tokens").fill("16")
    page.get_by_label("Message", exact=True).fill("<b>Hello</b>")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("Done")).to_be_visible()
    expect(page.get_by_role("log")).to_contain_text("<b>Hello</b>")
    answer = page.locator(".message.assistant .content")
    assert (answer.text_content() or "").strip()
    expect(page.locator("[data-output-tokens]")).to_have_text("16 tokens")
    expect(page.locator("[data-prompt-tokens]")).to_contain_text("tokens")
    expect(page.locator("[data-ttft]")).to_contain_text("ms")
    expect(page.locator("[data-speed]")).to_contain_text("tokens/s")
    expect(page.locator("[data-finish]")).to_have_text("length")
    expect(page.get_by_label("Message", exact=True)).to_have_value("")
    page.get_by_role("button", name="New conversation").click()
    expect(answer).to_have_count(0)


def test_a_chat_is_sent_and_cancelled_by_keyboard(served: Served, open_browser) -> None:
    session: BrowserSession = open_browser(served.url, served.api.admin_token)
    page = session.page
    page.goto("/dashboard/playground?service=openllm")
    message = page.get_by_label("Message", exact=True)
    session.tab_to(page.get_by_label("Maximum tokens"))
    page.keyboard.type("100000")
    message.focus()
    page.keyboard.type("Count")
    page.keyboard.press("Control+Enter")
    answer = page.locator(".message.assistant .content")
    expect(answer).not_to_be_empty()
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    page.keyboard.press("Escape")
    expect(page.get_by_text("Cancelled", exact=True)).to_be_visible()
    expect(page.locator("[data-output-tokens]")).to_contain_text("chunks")
    _wait_idle(served.gateway)
    text = answer.text_content()
    expect(answer).to_have_text(text or "")


def test_the_settings_are_sent_and_shown_as_curl_that_works(served: Served, open_browser) -> None:
    session: BrowserSession = open_browser(served.url, served.api.admin_token)
    page = session.page
    page.goto("/dashboard/playground")
    page.get_by_label("System prompt").fill('It\'s a "test" $HOME `id`')
    page.get_by_label("Maximum tokens").fill("4")
    page.get_by_label("Temperature").fill("0.5")
    page.get_by_label("Top p").fill("0.9")
    page.get_by_label("Seed").fill("7")
    page.get_by_label("Stop at").fill("END")
    page.get_by_label("Message", exact=True).fill("Don't stop")
    command = page.get_by_label("curl command", exact=True).text_content() or ""
    with page.expect_request("**/chat") as sent:
        page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("Done")).to_be_visible()
    assert sent.value.post_data_json == {
        "model": "smollm2-135m",
        "messages": [
            {"role": "system", "content": 'It\'s a "test" $HOME `id`'},
            {"role": "user", "content": "Don't stop"},
        ],
        "max_tokens": 4,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "stop": ["END"],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    after = page.get_by_label("curl command", exact=True).text_content()
    assert after == command
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert '"completion_tokens":4' in done.stdout, done.stderr
    assert "data: [DONE]" in done.stdout


def test_a_service_with_keys_is_used_without_showing_one(
    served: Served, open_browser, mock: MockServerProcess
) -> None:
    api = served.api
    created = create_key(api.store, "openllm", "ci", api.context.now())
    own = dashboard_key(api.context.vault, "openllm")
    hashes = (created.key.key_hash, own.key.key_hash)
    served.gateway.follow(service_route(_target(mock), key_hashes=hashes))
    page: Page = open_browser(served.url, api.admin_token).page
    page.goto("/dashboard/playground")
    page.get_by_label("Maximum tokens").fill("4")
    page.get_by_label("Message", exact=True).fill("Hello")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("Done")).to_be_visible()
    content = page.content()
    assert '-H "authorization: Bearer $HEADRACE_API_KEY"' in (
        page.get_by_label("curl command", exact=True).text_content() or ""
    )
    for secret in (own.secret, created.secret):
        assert secret not in content


def test_a_chat_goes_through_a_gateway_with_tls(
    tmp_path: Path, mock: MockServerProcess, open_browser
) -> None:
    tls = write_certificate(tmp_path)
    options = (f"--ssl-certfile={tls.certfile}", f"--ssl-keyfile={tls.keyfile}")
    with GatewayProcess(tmp_path, *options) as gateway:
        api = ControlApi(tmp_path, gateway_url=f"https://localhost:{gateway.port}")
        add_example_service(api.store, "openllm", api.context.now())
        gateway.follow(service_route(_target(mock)))
        with api.serving() as url:
            page: Page = open_browser(url, api.admin_token).page
            page.goto("/dashboard/playground")
            page.get_by_label("Maximum tokens").fill("4")
            page.get_by_label("Message", exact=True).fill("Hello")
            page.get_by_role("button", name="Send").click()
            expect(page.get_by_text("Done")).to_be_visible()
            expect(page.locator("[data-output-tokens]")).to_have_text("4 tokens")
            command = page.get_by_label("curl command", exact=True).text_content() or ""
            assert f"https://localhost:{gateway.port}/openllm/v1/chat/completions" in command
            done = subprocess.run(
                ["bash", "-c", command],
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                env={**os.environ, "CURL_CA_BUNDLE": str(tls.certfile)},
            )
            assert "data: [DONE]" in done.stdout, done.stderr
        api.close()


def test_errors_of_the_gateway_are_shown(served: Served, open_browser) -> None:
    session: BrowserSession = open_browser(served.url, served.api.admin_token)
    page = session.page
    page.goto("/dashboard/playground")
    served.gateway.follow(service_route(name="other"))
    page.get_by_label("Message", exact=True).fill("Hello")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert").filter(has_text="No service has this host")).to_be_visible()
    expect(page.get_by_label("Message", exact=True)).to_have_value("Hello")
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    session.accept_status(404)


def test_a_viewer_has_no_playground(served: Served, open_browser) -> None:
    session: BrowserSession = open_browser(served.url, served.api.viewer_token)
    page = session.page
    expect(page.get_by_role("link", name="Playground")).to_have_count(0)
    page.goto("/dashboard/playground")
    expect(page.get_by_role("heading", name="Not allowed")).to_be_visible()
    session.accept_status(403)


def _target(mock: MockServerProcess) -> TargetRoute:
    return TargetRoute(3, 8000, 100, (mock.route,))


def _wait_idle(gateway: GatewayProcess) -> None:
    """Until the gateway has no request in flight."""
    deadline = time.monotonic() + TIMEOUT_S
    while any(one.num_outstanding for one in gateway.stats().replicas.values()):
        assert time.monotonic() < deadline, "the request goes on"
        time.sleep(0.02)
