"""The control plane's metrics over a real store and a real control loop."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from headrace.control.monitoring.metrics import ControlMetrics
from headrace.control.replicas.backoff import Backoff, Crash
from headrace.control.replicas.crash_history import CrashHistory
from headrace.control.resources import (
    Gateway,
    GatewayStatus,
    Replica,
    ReplicaState,
    RevisionKey,
    Service,
    Target,
)
from headrace.control.store.store import Store
from headrace.testing.processes.control_api import ControlApi
from headrace.testing.processes.control_plane import ControlPlane

NOW = datetime(2026, 1, 1, tzinfo=UTC)

Samples = dict[str, float]


def samples_of(page: bytes) -> Samples:
    """By name and the values of the labels, in their order."""
    return {
        "/".join((sample.name, *(sample.labels[name] for name in sorted(sample.labels)))): (
            sample.value
        )
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(f"sqlite:///{tmp_path / 'state.db'}")
    with store.begin() as tx:
        tx.add_service(Service("chat", NOW))
        for num_desired in (2, 1):
            tx.add_revision("chat", {"run": "serve", "ports": [3000]}, num_desired, NOW)
        targets = (Target(1, 3000, 70), Target(2, 3000, 30))
        tx.save_gateway(Gateway("chat", True, targets, targets, GatewayStatus.SUCCESS, "", {}, NOW))
        for name, state in (("a", ReplicaState.READY), ("b", ReplicaState.STARTING)):
            tx.add_replica(Replica(name, "chat", 1, state, NOW, NOW))
    yield store
    store.close()


def test_resources_are_read_from_the_store(store: Store) -> None:
    samples = samples_of(ControlMetrics(store, CrashHistory(Backoff())).expose())
    # Labels in their alphabetical order: revision, service, state.
    assert samples["headrace_control_services"] == 1
    assert samples["headrace_control_database_up"] == 1
    assert samples["headrace_control_replicas/1/chat/ready"] == 1
    assert samples["headrace_control_replicas/1/chat/starting"] == 1
    assert samples["headrace_control_replicas/1/chat/draining"] == 0
    assert samples["headrace_control_replicas/2/chat/ready"] == 0
    assert samples["headrace_control_desired_replicas/1/chat"] == 2
    assert samples["headrace_control_traffic_weight/1/chat"] == 70
    assert samples["headrace_control_gateway_status/chat/success"] == 1
    assert samples["headrace_control_gateway_status/chat/failed"] == 0
    assert samples["headrace_control_runs/running"] == 0
    assert samples["process_resident_memory_bytes"] > 0


def test_crashes_are_counted_and_a_loop_is_shown(store: Store) -> None:
    crashes = CrashHistory(Backoff())
    metrics = ControlMetrics(store, crashes)
    key = RevisionKey("chat", 2)
    for number in range(3):
        assert samples_of(metrics.expose())["headrace_control_crash_loop/2/chat"] == 0
        at = NOW.replace(minute=number)
        crashes.add(key, Crash(at, None, at, "exit code 1"))
    samples = samples_of(metrics.expose())
    assert samples["headrace_control_crash_loop/2/chat"] == 1
    assert samples["headrace_control_crash_loop/1/chat"] == 0
    assert samples["headrace_control_replica_crashes_total/2/chat"] == 3
    crashes.retain_only(set())
    assert samples_of(metrics.expose())["headrace_control_replica_crashes_total/2/chat"] == 0


def test_a_database_that_cannot_be_read_is_shown(store: Store, tmp_path: Path) -> None:
    metrics = ControlMetrics(store, CrashHistory(Backoff()))
    with store.begin() as tx:
        tx._connection.exec_driver_sql("DROP TABLE services")
    samples = samples_of(metrics.expose())
    assert samples["headrace_control_database_up"] == 0
    assert "headrace_control_services" not in samples
    assert "headrace_control_info/" in "".join(samples)


async def passes(home: Path) -> bytes:
    async with ControlPlane(home) as plane:
        plane.add_revision()
        await plane.run_until(lambda: bool(plane.ready()))
        await plane.run_passes(1)
        targets = home / "monitoring" / "targets" / "headrace-replicas.json"
        [replica] = plane.ready()
        assert replica.replica_id in targets.read_text()
        return plane.controller.metrics.expose()


def test_passes_are_timed_and_targets_are_written(tmp_path: Path) -> None:
    samples = samples_of(asyncio.run(passes(tmp_path)))
    assert samples["headrace_control_pass_duration_seconds_count"] > 1
    assert samples["headrace_control_last_pass_timestamp_seconds"] > 0
    assert samples["headrace_control_replicas/1/svc/ready"] == 1
    assert not any("pass_errors_total" in name for name in samples)


def test_the_page_needs_no_token_and_refuses_foreign_hosts(tmp_path: Path) -> None:
    api = ControlApi(tmp_path)
    try:
        client: TestClient = api.client(None)
        response = client.get("/metrics")
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert client.get("/metrics", headers={"Host": "evil.example"}).status_code == 421
    finally:
        api.close()
