"""What the recorder costs with 20 replicas: real HTTP, real processes, a real store."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from headrace.control.history.block import FINE
from headrace.control.history.current import CurrentMetrics
from headrace.control.history.recorder import HistoryRecorder
from headrace.control.launchers.process import ProcessLauncher
from headrace.control.processes.ports import find_free_port
from headrace.control.processes.process_group import is_alive, signal_group, start_group
from headrace.control.processes.process_usage import ProcessUsageReader
from headrace.control.resources import ProcessHandle, Replica, ReplicaState, Service
from headrace.control.scaling.replica_scraper import ReplicaScraper
from headrace.control.store.store import Store
from headrace.control.traffic.gateway_link import GatewayLink
from headrace.core.gateway.stats import (
    INTER_TOKEN_BUCKETS_S,
    TTFT_BUCKETS_S,
    GatewayStats,
    RevisionStats,
)
from headrace.server.reporting.metric_families import Families

NUM_SERVICES = 5
NUM_REPLICAS = 20
NUM_PASSES = 15
MAX_SHARE = 0.01
"""Of a core."""


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_767_225_600.3

    def __call__(self) -> datetime:
        return datetime.fromtimestamp(self.now_s, UTC)


def metrics_page() -> bytes:
    """As a server of ours has it after some requests."""
    registry = CollectorRegistry()
    families = Families(registry, "mistralai/Mistral-7B-Instruct-v0.2", 32_768)
    for number in range(200):
        families.time_to_first_token.observe(0.001 * number)
        families.inter_token_latency.observe(0.0005 * number)
        families.generation_tokens.inc(17)
    return generate_latest(registry)


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """Of a server, in a process of its own, that stands for all replicas and the gateway."""
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "metrics").write_bytes(metrics_page())
    one = RevisionStats(
        *(1, 2, 1000, tuple(range(len(TTFT_BUCKETS_S) + 1)), 1.0),
        inter_token_counts=tuple(range(len(INTER_TOKEN_BUCKETS_S) + 1)),
    )
    revisions = {f"svc-{number}/1": one for number in range(NUM_SERVICES)}
    (folder / "stats").write_bytes(msgspec.json.encode(GatewayStats(1, 1e6, {}, revisions)))
    port = find_free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[list[ProcessHandle]]:
    """Each with a child, as a server has its engine."""
    started = [
        start_group(
            ["/bin/sh", "-c", "sleep 600 & wait"],
            name=f"r{number}",
            env={},
            folder=tmp_path,
            log=None,
        )
        for number in range(NUM_REPLICAS)
    ]
    yield started
    for handle in started:
        signal_group(handle, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while any(is_alive(handle) for handle in started):  # which reaps them
        assert time.monotonic() < deadline


def test_recording_20_replicas_costs_less_than_a_hundredth_of_a_core(
    sqlite_template: Path, tmp_path: Path, url: str, processes: list[ProcessHandle]
) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(sqlite_template.read_bytes())
    store = Store.open(f"sqlite:///{path}")
    clock = Clock()
    port = int(url.rpartition(":")[2])
    with store.begin() as tx:
        for number in range(NUM_SERVICES):
            tx.add_service(Service(f"svc-{number}", clock()))
            tx.add_revision(f"svc-{number}", {"run": "x", "ports": [3000]}, 4, clock())
        for number, handle in enumerate(processes):
            service, ready = f"svc-{number % NUM_SERVICES}", ReplicaState.READY
            tx.add_replica(
                Replica(
                    f"r{number}", service, 1, ready, clock(), clock(), process=handle,
                    host_ports={3000: port},
                )
            )  # fmt: skip
    current = CurrentMetrics()

    async def record() -> float:
        """CPU seconds of a pass."""
        scraper, gateway = ReplicaScraper(clock_s), GatewayLink(url, clock_s)
        recorder = HistoryRecorder(
            store,
            scraper,
            gateway,
            ProcessUsageReader(ProcessLauncher().process_trees),
            current,
            clock,
            clock_s,
        )
        try:
            deadline = time.monotonic() + 60
            while current.replica("r0").num_running is None:
                assert time.monotonic() < deadline
                clock.now_s += FINE.step_s
                await recorder.run_pass()
            began_s = time.process_time()
            for _ in range(NUM_PASSES):
                clock.now_s += FINE.step_s
                await recorder.run_pass()
            return (time.process_time() - began_s) / NUM_PASSES
        finally:
            await scraper.close()
            await gateway.close()

    def clock_s() -> float:
        return clock.now_s

    try:
        cpu_s = asyncio.run(record())
    finally:
        store.close()
    for number in range(NUM_REPLICAS):
        load = current.replica(f"r{number}")
        assert load.num_running is not None
        assert load.num_bytes
    print(f"{cpu_s * 1000:.1f} ms of CPU time per pass: {cpu_s / FINE.step_s:.2%} of a core")
    assert cpu_s / FINE.step_s < MAX_SHARE
