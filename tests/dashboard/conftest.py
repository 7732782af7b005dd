"""The dashboard over a real store, in the control plane's app."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from headrace.testing.processes.control_api import ControlApi


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ControlApi]:
    api = ControlApi(tmp_path)
    yield api
    api.close()


@pytest.fixture
def admin(api: ControlApi) -> TestClient:
    """A browser, signed in as an administrator."""
    return api.browser(api.admin_token)


@pytest.fixture
def viewer(api: ControlApi) -> TestClient:
    """A browser, signed in as a viewer."""
    return api.browser(api.viewer_token)
