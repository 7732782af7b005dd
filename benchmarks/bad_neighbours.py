"""Creates and terminates three failing revisions, and counts their starts."""

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from servers import say

from headrace.testing.processes.platform_process import PlatformProcess

START_TIMEOUT_S = 600.0
MAX_NUM_EVENTS = 5_000

POISONED_SERVER = Path(__file__).with_name("poisoned_server.py")
POISONED = f"""
run: {sys.executable} {POISONED_SERVER} --port 3000
ports: [3000]
autoscaling: {{min: 2, max: 2}}
"""
FAILING: dict[str, tuple[str, ...]] = {
    "crashing": ("run: exit 1\nports: [3000]\n",),
    # The system refuses an environment variable of this length; a platform may refuse it earlier.
    "unlaunchable": (
        f"run: 'true'\nports: [3000]\nenv: {{LONG: {'x' * 200_000}}}\n",
        "run: /no/such/interpreter --port 3000\nports: [3000]\n",
    ),
    "poisoned": (POISONED,),
}
"""Their manifests by service; of several, the first one that the platform accepts."""


class Neighbours:
    """The failing revisions, present or not."""

    def __init__(self, platform: PlatformProcess, folder: Path) -> None:
        self._platform = platform
        self._folder = folder
        self._numbers: dict[str, int] = {}
        """Of the present revisions, by service."""
        self.seen: dict[str, set[str]] = {name: set() for name in FAILING}
        """Names of replica folders, by service."""
        for name in FAILING:
            platform.run("service", "create", name)

    def add(self) -> None:
        for name, manifests in FAILING.items():
            self._numbers[name] = self._create(name, manifests)
        number = self._numbers["poisoned"]
        self._platform.wait_until(
            lambda: self._is_ready("poisoned", number), "the poisoned revision is ready"
        )
        gateway = f"enabled: true\ntargets: [{{number: {number}, port: 3000, weight: 100}}]\n"
        update = ("gateway", "update", "-s", "poisoned", "-f", self._write("gateway", gateway))
        self._platform.run(*update)

    def remove(self) -> None:
        """Returns when they have no replicas."""
        self.record_folders()
        disabled = self._write("gateway", "enabled: false\n")
        self._platform.try_run("gateway", "update", "-s", "poisoned", "-f", disabled)
        for name, number in self._numbers.items():
            self._platform.run("revision", "terminate", "-s", name, "-n", str(number))
        for name, number in self._numbers.items():
            has_none = partial(self._has_no_replicas, name, number)
            self._platform.wait_until(has_none, f"no replica of {name} is left", START_TIMEOUT_S)
        self.record_folders()
        self._numbers.clear()

    def record_folders(self) -> None:
        """Record which replicas have a folder now."""
        for path in (self._platform.home / "replicas").iterdir():
            service = path.name.rsplit("-", 2)[0]
            if service in self.seen:
                self.seen[service].add(path.name)

    def counts(self) -> dict[str, dict[str, int]]:
        """Numbers of replica folders and of start events, by service."""
        self.record_folders()
        found = {}
        for name, folders in self.seen.items():
            limit = ("--limit", str(MAX_NUM_EVENTS))
            events = self._platform.run_json("service", "events", name, *limit)
            num_started = sum(event["what"] == "started" for event in events)
            found[name] = {"num_folders": len(folders), "num_started_events": num_started}
        return found

    def _create(self, name: str, manifests: Sequence[str]) -> int:
        refusal = ""
        for number, manifest in enumerate(manifests):
            path = self._write(f"{name}-{number}", manifest)
            done = self._platform.try_run("revision", "create", "-s", name, "-f", path, "--json")
            if done.returncode == 0:
                return int(json.loads(done.stdout)["number"])
            refusal = done.stderr.strip()
            say(f"{name}: {refusal[:200]}")
        sys.exit(f"No manifest of {name} was accepted; the last one: {refusal}")

    def _replicas(self, name: str, number: int) -> list[dict[str, Any]]:
        read = self._platform.run_json("revision", "read", "-s", name, "-n", str(number))
        return list(read["replicas"])

    def _has_no_replicas(self, name: str, number: int) -> bool:
        return not self._replicas(name, number)

    def _is_ready(self, name: str, number: int) -> bool:
        return any(each["state"] == "ready" for each in self._replicas(name, number))

    def _write(self, name: str, text: str) -> str:
        path = self._folder / f"{name}.yaml"
        path.write_text(text)
        return str(path)
