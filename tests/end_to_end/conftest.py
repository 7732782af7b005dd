"""One platform for all tests that stop no part of it; each has services of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.core.home import headrace_home
from headrace.testing.processes.platform_process import PlatformProcess

LOGS = ("--log-requests", "--log-format", "json")


@pytest.fixture(scope="session")
def shared_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlatformProcess]:
    """Takes models and compiled kernels from the caches of the user who runs the tests."""
    home = tmp_path_factory.mktemp("platform") / "home"
    home.mkdir()
    for shared in ("models", "cache"):
        (headrace_home() / shared).mkdir(parents=True, exist_ok=True)
        (home / shared).symlink_to(headrace_home() / shared)
    with PlatformProcess(home, "--no-containers", *LOGS) as platform:
        yield platform


@pytest.fixture
def platform(shared_platform: PlatformProcess, tmp_path: Path) -> Iterator[PlatformProcess]:
    """The shared one. Commands run in this test's folder; its services are deleted afterwards."""
    shared_platform.cwd = tmp_path
    yield shared_platform
    with shared_platform.client() as client:
        for service in client.services():
            for revision in client.revisions(service.name):
                if revision.status not in ("terminating", "terminated"):
                    client.terminate_revision(service.name, revision.number)
        for service in client.services():
            shared_platform.wait_until(
                lambda name=service.name: all(
                    revision.status == "terminated" for revision in client.revisions(name)
                ),
                f"the revisions of {service.name} are terminated",
            )
            client.delete_service(service.name)
