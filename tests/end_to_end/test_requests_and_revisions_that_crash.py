"""A request that ends replicas, and a revision that keeps crashing, beside what is well."""

import http.client
import threading
from pathlib import Path

import openai
import pytest

from headrace.testing.processes.platform_process import PlatformProcess
from headrace.testing.raw_http import post

pytestmark = pytest.mark.xdist_group("platforms")

GATEWAY = "enabled: true\ntargets:\n- {number: 1, port: 3000, weight: 100}\n"


def deploy(platform: PlatformProcess, folder: Path, service: str, run: str, num: int) -> None:
    revision, gateway = folder / f"{service}.yaml", folder / "gateway.yaml"
    revision.write_text(
        f"run: {run}\nports: [3000]\nautoscaling: {{min: {num}, max: {num}}}\n"
        "env: {PYTHONDONTWRITEBYTECODE: '1'}\n"
    )
    gateway.write_text(GATEWAY)
    platform.run("service", "create", service)
    platform.run("revision", "create", "-s", service, "-f", str(revision))
    platform.run("gateway", "update", "-s", service, "-f", str(gateway))


class Others:
    """Clients that ask for what is harmless, all the time."""

    def __init__(self, url: str, num: int = 4) -> None:
        self._url = url
        self.num_ok = 0
        self.failures: list[str] = []
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(num)]

    def __enter__(self) -> "Others":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        num_asked = 0
        while not self._is_over.wait(0.01):
            num_asked += 1
            body = {"prompt": f"{number} {num_asked}"}
            try:
                answer = post(self._url, "/mortal/v1/completions", body)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                continue
            if answer.status == 200:
                self.num_ok += 1
            else:
                self.failures.append(f"{answer.status} {answer.body!r}")


@pytest.mark.slow
def test_a_request_that_ends_its_replicas_is_kept_from_them(
    platform: PlatformProcess, tmp_path: Path
) -> None:
    ends = tmp_path / "ends"
    run = f"python -m headrace.testing.servers.mortal_server --port 3000 --ends {ends}"
    deploy(platform, tmp_path, "mortal", run, num=2)

    def num_ready() -> int:
        return platform.revision("mortal", 1).num_ready_replicas

    platform.wait_until(lambda: num_ready() == 2, "two replicas")
    with (
        Others(platform.url) as others,
        openai.OpenAI(
            base_url=f"{platform.url}/mortal/v1", api_key="none", max_retries=2, timeout=120
        ) as client,
    ):
        for _ in range(3):
            with pytest.raises(openai.UnprocessableEntityError) as caught:
                client.completions.create(
                    model="any", prompt="secret words", extra_body={"end": "exit"}
                )
            assert caught.value.code == "request_kills_replicas"
        platform.wait_until(lambda: num_ready() == 2, "two replicas again")
        platform.wait_until(lambda: others.num_ok > 20, "the others are answered")
    assert len(ends.read_text().splitlines()) <= 3
    assert others.failures == []
    assert others.num_ok > 20

    platform.wait_until(
        lambda: any(event.what == "quarantined" for event in platform.events("mortal")), "the event"
    )
    events = platform.run_json("service", "events", "mortal")
    [event] = [event for event in events if event["what"] == "quarantined"]
    assert event["subject"] == "revision mortal/1"
    assert event["why"].startswith("A request crashed 3 replicas")
    assert "secret" not in event["why"]


@pytest.mark.slow
def test_a_revision_that_keeps_crashing_is_not_waited_for(
    platform: PlatformProcess, tmp_path: Path
) -> None:
    deploy(platform, tmp_path, "broken", "exit 3", num=1)

    def answers() -> bool:
        answer = post(platform.url, "/broken/v1/completions", {})
        assert answer.status == 503
        assert answer.error["code"] == "crash_backoff"
        assert 1 <= int(answer.headers["retry-after"]) <= 300
        return True

    # Held while it starts; from its third crash on, an answer at once.
    assert answers()
    assert answers()
