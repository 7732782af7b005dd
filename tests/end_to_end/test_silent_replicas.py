"""A server that answers one request at a time, behind a whole platform: slow is not dead."""

import threading
from pathlib import Path

import pytest

from headrace.testing.processes.platform_process import PlatformProcess
from headrace.testing.raw_http import Answer, post

pytestmark = pytest.mark.xdist_group("platforms")

SERVICE = "slow"
REVISION = """\
run: python -m headrace.testing.servers.blocking_server --port 3000
ports: [3000]
"""
GATEWAY = "enabled: true\ntargets: [{number: 1, port: 3000, weight: 100}]\n"


class Asking(threading.Thread):
    """One request, in a thread of its own."""

    def __init__(self, url: str, **body: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._body = body
        self.answer: Answer | None = None
        self.start()

    def run(self) -> None:
        self.answer = post(self._url, f"/{SERVICE}/v1/completions", self._body)

    def pid(self) -> int:
        """Of the process that answered."""
        self.join(60)
        assert self.answer is not None
        assert self.answer.status == 200, self.answer.body
        return int(self.answer.json["pid"])


@pytest.mark.slow
def test_a_server_at_work_is_not_taken_for_dead(platform: PlatformProcess, tmp_path: Path) -> None:
    """It says nothing for longer than a dead one would live, and loses nothing."""
    (tmp_path / "revision.yaml").write_text(REVISION)
    (tmp_path / "gateway.yaml").write_text(GATEWAY)
    end = tmp_path / "end"
    platform.run("service", "create", SERVICE)
    platform.run("revision", "create", "-s", SERVICE, "-f", "revision.yaml")
    platform.run("gateway", "update", "-s", SERVICE, "-f", "gateway.yaml")
    first = Asking(platform.url)
    pid = first.pid()

    working = Asking(platform.url, work_until=str(end))
    platform.wait_until(
        lambda: any(event.what == "unresponsive" for event in platform.events(SERVICE)),
        "it would be dead by now, were it not at work",
    )
    waiting = Asking(platform.url)
    end.touch()
    assert working.pid() == waiting.pid() == pid
    assert not any(event.what == "failed" for event in platform.events(SERVICE))
