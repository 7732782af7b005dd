"""The pages of services in a real Chromium."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from headrace.core.gateway.usage import UsageCounts, UsageKey
from headrace.dashboard.pages.services.metrics import CHARTS
from headrace.testing.browser import COLOR_SCHEMES, WIDTHS, ColorScheme, OpenBrowser
from headrace.testing.example_services import add_example_history, add_example_service
from headrace.testing.processes.control_api import ControlApi

pytestmark = pytest.mark.xdist_group("browser")

PAGES = {
    "services": "/dashboard/services",
    "service": "/dashboard/services/openllm",
    "metrics": "/dashboard/services/openllm/metrics",
    "revisions": "/dashboard/services/openllm/revisions",
    "new-revision": "/dashboard/services/openllm/revisions/new",
    "revision": "/dashboard/services/openllm/revisions/3",
    "replicas": "/dashboard/services/openllm/replicas",
    "traffic": "/dashboard/services/openllm/traffic",
    "events": "/dashboard/services/openllm/events",
    "usage": "/dashboard/usage",
}


class Served(NamedTuple):
    api: ControlApi
    url: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A store with two services, behind a real server. Tests of this file only read it."""
    api = ControlApi(tmp_path_factory.mktemp("served"))
    now = api.context.now()
    add_example_service(api.store, "openllm", now, num_events=70)
    add_example_history(api.store, "openllm", (2, 3), now)
    add_example_service(api.store, "chat", now, num_revisions=1)
    counts = UsageCounts(120, 2, 45_000, 12_000, 9_000)
    with api.store.begin() as tx:
        for key in ("laptop", "ci", ""):
            tx.add_usage(now.date().isoformat(), {UsageKey("openllm", key, "smollm2"): counts})
    with api.serving() as url:
        yield Served(api, url)
    api.close()


@pytest.mark.slow
@pytest.mark.parametrize("color_scheme", COLOR_SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_is_accessible_and_fits(
    served: Served, open_browser: OpenBrowser, width: int, color_scheme: ColorScheme
) -> None:
    session = open_browser(
        served.url, served.api.admin_token, width=width, color_scheme=color_scheme
    )
    for name, path in PAGES.items():
        session.page.goto(path)
        if name == "metrics":
            session.page.locator("canvas").nth(len(CHARTS) - 1).wait_for()
        session.check_width()
        session.check_accessibility()
        session.screenshot(name)
