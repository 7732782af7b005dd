"""Times every page of the dashboard, and its live parts, over a large store.

    python benchmarks/dashboard.py [--services 50] [--revisions 10] [--events 200] [--repeat 20]

By default 50 services with 10 revisions and 200 events each: 500 revisions, 10,000 events. Requests
go through the whole application, without a network. It prints the processor time and the time of
each page, and exits with 1 if a median is above the target.
"""

import argparse
import re
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from starlette.testclient import TestClient

from headrace.core.gateway.usage import UsageCounts, UsageKey
from headrace.testing.example_runs import add_running_run
from headrace.testing.example_services import add_example_history, add_example_service
from headrace.testing.processes.control_api import ControlApi

TARGET_MS = 100.0
NUM_RUNS = 200
NUM_KEYS = 200

PAGES = (
    "services",
    "services/svc-0",
    "services/svc-0/metrics",
    "services/svc-0/metrics/data",
    "services/svc-0/revisions",
    "services/svc-0/revisions/{revision}",
    "services/svc-0/replicas",
    "services/svc-0/traffic",
    "services/svc-0/events",
    "runs",
    "usage?days=90",
    "access",
    "machine",
    "services/live/table",
    "services/svc-0/live/state",
    "services/svc-0/live/revisions",
    "services/svc-0/live/replicas",
    "services/svc-0/live/events",
)


@dataclass(frozen=True, slots=True)
class PageTimes:
    path: str
    num_bytes: int
    cpu_ms: list[float]
    """Of the whole process: application and client."""
    wall_ms: list[float]


def fill(api: ControlApi, num_services: int, num_revisions: int, num_events: int) -> None:
    now = api.context.now()
    for number in range(num_services):
        add_example_service(
            api.store, f"svc-{number}", now, num_revisions=num_revisions, num_events=num_events
        )
    add_example_history(api.store, "svc-0", range(1, num_revisions + 1), now)
    for _ in range(NUM_RUNS):
        add_running_run(api.store, api.layout, now)
    usage = {
        UsageKey(f"svc-{number % num_services}", f"key-{number}", "m"): UsageCounts(9, 1, 99, 99)
        for number in range(NUM_KEYS)
    }
    for day in range(90):
        with api.store.begin() as tx:
            tx.add_usage(f"{now.date().fromordinal(now.date().toordinal() - day)}", usage)


def measure(client: TestClient, path: str, repeat: int) -> PageTimes:
    cpu_ms, wall_ms, num_bytes = [], [], 0
    for index in range(repeat + 1):
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        response = client.get(f"/dashboard/{path}")
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
        if response.status_code != 200:
            raise SystemExit(f"{path}: {response.status_code}")
        num_bytes = len(response.content)
        if index > 0:  # the first one compiles the template
            cpu_ms.append(1e3 * cpu_s)
            wall_ms.append(1e3 * wall_s)
    return PageTimes(path, num_bytes, cpu_ms, wall_ms)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--services", type=int, default=50)
    parser.add_argument("--revisions", type=int, default=10, help="of each service")
    parser.add_argument("--events", type=int, default=200, help="of each service")
    parser.add_argument("--repeat", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        api = ControlApi(Path(folder))
        fill(api, given.services, given.revisions, given.events)
        client = api.browser(api.admin_token)
        api.is_ending = True  # each stream ends after its first event
        times = [
            measure(client, path.format(revision=given.revisions), given.repeat) for path in PAGES
        ]
        api.close()
    print(
        f"{given.services} services, {given.services * given.revisions} revisions, "
        f"{given.services * given.events} events; {given.repeat} requests a page\n"
    )
    print("| page | KB | CPU ms, median | ms, median | ms, highest |")
    print("|---|---|---|---|---|")
    for one in times:
        name = re.sub("svc-0", "NAME", one.path)
        print(
            f"| `/{name}` | {one.num_bytes / 1024:.0f} | {statistics.median(one.cpu_ms):.1f} "
            f"| {statistics.median(one.wall_ms):.1f} | {max(one.wall_ms):.1f} |"
        )
    slow = [one.path for one in times if statistics.median(one.cpu_ms) > TARGET_MS]
    if slow:
        print(f"\nAbove {TARGET_MS:.0f} ms: {', '.join(slow)}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
