"""From `headrace up` to charts that move, on a real platform and in a real Chromium."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from headrace.testing.browser import OpenBrowser
from headrace.testing.processes.platform_process import PlatformProcess
from headrace.testing.steady_load import SteadyLoad

pytestmark = [pytest.mark.xdist_group("platforms"), pytest.mark.slow]

REVISION = f"""\
message: Mock server {{number}}
run: {sys.executable} -m headrace.testing.servers.mock_server --port 3000
ports: [3000]
"""
_READY_TIMEOUT_MS = 60_000
_SAMPLES_TIMEOUT_MS = 90_000
"""Several samples of 15 s."""


def test_two_revisions_are_deployed_and_share_the_traffic(
    tmp_path: Path, open_browser: OpenBrowser
) -> None:
    platform = PlatformProcess(tmp_path / "home", "--no-containers")
    platform.home.mkdir()
    printed = platform.up()
    try:
        api_url = f"http://127.0.0.1:{platform.api_port}"
        assert f"{api_url}/dashboard/" in printed
        link = platform.run("dashboard", "--no-browser").splitlines()[-1]
        session = open_browser(api_url)
        page = session.page
        page.goto(link)
        page.get_by_label("Name").fill("openllm")
        page.keyboard.press("Enter")
        expect(page.get_by_text("Created service openllm.")).to_be_visible()
        for number in (1, 2):
            _create_revision(page, number)
        _split(page, {1: "50", 2: "50"})
        expect(page.get_by_role("img", name="Traffic in effect: 50 %")).to_be_visible(
            timeout=_READY_TIMEOUT_MS
        )
        _run_snippets(page)
        with SteadyLoad(f"{platform.url}/openllm", num_workers=4) as load:
            _see_the_load(page)
        assert load.outcomes.failures == []
        page.goto("/dashboard/services/openllm/revisions/2")
        expect(page.get_by_label(re.compile("^Log of replica"))).to_contain_text("mock server at")
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        assert session.problems == []
        began_s = time.monotonic()
        platform.run("down", "--keep-serving")
        assert (
            time.monotonic() - began_s < 30
        )  # the open responses, of log and live part, have ended
        expect(page.get_by_role("alert")).to_contain_text("does not respond")
        page.goto("about:blank")
        session.problems.clear()  # of requests to the stopped control plane
    finally:
        platform.run("down")


def _create_revision(page: Page, number: int) -> None:
    page.goto("/dashboard/services/openllm/revisions/new")
    page.get_by_label("Manifest (YAML)").fill(REVISION.format(number=number))
    page.get_by_role("button", name="Create revision").click()
    expect(page.get_by_text(f"Created revision {number}.")).to_be_visible()
    expect(page.get_by_text("1 of 1 ready")).to_be_visible(timeout=_READY_TIMEOUT_MS)


def _split(page: Page, shares: dict[int, str]) -> None:
    page.get_by_role("link", name="Traffic").click()
    for number, share in shares.items():
        page.get_by_label(f"Revision {number}, port 3000").fill(share)
    page.get_by_role("button", name="Apply", exact=True).click()
    expect(page.get_by_text("Traffic: ")).to_be_visible()


def _run_snippets(page: Page) -> None:
    """They work when they are pasted."""
    curl = page.get_by_label("curl command", exact=True).text_content() or ""
    program = page.get_by_label("Python program", exact=True).text_content() or ""
    done = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, timeout=60)
    assert '"choices"' in done.stdout, done
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done
    assert done.stdout.strip()


def _see_the_load(page: Page) -> None:
    page.goto("/dashboard/services")
    row = page.get_by_role("row").filter(has_text="openllm")
    expect(row.get_by_role("cell").nth(2)).to_have_text(
        re.compile(r"[1-9]"), timeout=_SAMPLES_TIMEOUT_MS
    )
    page.goto("/dashboard/services/openllm/metrics")
    requests = page.locator("figure").filter(has_text="requests/s").get_by_role("listitem")
    for index, number in enumerate((1, 2)):
        expect(requests.nth(index)).to_have_text(
            re.compile(rf"Revision {number}: [\d.,]*[1-9][\d.,]* requests/s"),
            timeout=_SAMPLES_TIMEOUT_MS,
        )
    page.goto("/dashboard/services/openllm/replicas")
    expect(page.get_by_role("row").filter(has_text="MiB")).to_have_count(2)
