"""A service that costs nothing while nobody asks, and answers when somebody does."""

import json
import urllib.request
from pathlib import Path

import pytest

from headrace.testing.processes.platform_process import PlatformProcess

pytestmark = pytest.mark.xdist_group("platforms")

REVISION = """\
message: nobody asks, nothing runs
run: python -m headrace.testing.servers.mock_server --port 3000 --startup-s 1
ports: [3000]
autoscaling: {min: 0, max: 2, metric: concurrency, target: 4, idle_timeout: 2}
"""
GATEWAY = "enabled: true\ntargets: [{number: 1, port: 3000, weight: 100}]\n"


@pytest.mark.slow
def test_to_zero_and_back(platform: PlatformProcess, tmp_path: Path) -> None:
    (tmp_path / "revision.yaml").write_text(REVISION)
    (tmp_path / "gateway.yaml").write_text(GATEWAY)
    platform.run("service", "create", "rare")
    platform.run("revision", "create", "-s", "rare", "-f", "revision.yaml")
    platform.run("gateway", "update", "-s", "rare", "-f", "gateway.yaml")

    def status() -> str:
        read = platform.revision("rare", 1)
        return read.status if not read.replicas else "has replicas"

    def num_started() -> int:
        return sum(event.what == "started" for event in platform.events("rare"))

    platform.wait_until(lambda: "rare/1" in revisions(platform), "the gateway follows")

    platform.wait_until(lambda: status() == "idle", "what ran at first has gone")
    num_before = num_started()
    for _ in range(2):
        assert ask(platform) == 200  # held until a replica is ready, and answered
        platform.wait_until(lambda: status() == "idle", "it is scaled to zero")
    assert num_started() - num_before == 2


def revisions(platform: PlatformProcess) -> dict[str, object]:
    """Those that the gateway knows."""
    with urllib.request.urlopen(f"{platform.admin_url}/stats", timeout=60) as answer:
        return dict(json.load(answer)["revisions"])


def ask(platform: PlatformProcess) -> int:
    body = {"model": "mock", "messages": [{"role": "user", "content": "Hello?"}], "max_tokens": 4}
    request = urllib.request.Request(
        f"{platform.url}/rare/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return int(answer.status)
