from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from headrace.control.client import ControlClient, Credentials
from headrace.testing.processes.control_api import ControlApi


@pytest.fixture
def admin(api: ControlApi) -> TestClient:
    """An administrator's client."""
    return api.client(api.admin_token)


@pytest.fixture
def client(api: ControlApi) -> Iterator[ControlClient]:
    """An administrator's, over HTTP."""
    with api.serving() as url, ControlClient(Credentials(url, api.admin_token)) as client:
        yield client
