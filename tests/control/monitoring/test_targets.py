"""The files of Prometheus' service discovery."""

import json
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from headrace.control.layout import Layout
from headrace.control.monitoring.targets import (
    CONTROL_JOB,
    GATEWAY_JOB,
    REPLICAS_JOB,
    TargetFiles,
    replica_groups,
    target_file,
)
from headrace.control.resources import Replica, ReplicaState, Revision, RevisionPhase
from headrace.control.snapshot import Snapshot, SpecCache

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def revision(number: int = 1, **spec: Any) -> Revision:
    whole = {"run": "serve", "ports": [3000, 9000], **spec}
    return Revision("chat", number, whole, RevisionPhase.ACTIVE, 1, NOW)


def replica(name: str, state: ReplicaState = ReplicaState.READY, number: int = 1) -> Replica:
    ports = {3000: 40000 + len(name), 9000: 50000 + len(name)}
    return Replica(name, "chat", number, state, NOW, NOW, host_ports=ports)


def snapshot(revisions: list[Revision], replicas: list[Replica]) -> Snapshot:
    return Snapshot((), tuple(revisions), tuple(replicas), (), ())


def read(layout: Layout, job: str) -> Any:
    return json.loads(target_file(layout, job).read_text())


def test_a_ready_replica_is_scraped_on_its_apis_port() -> None:
    assert replica_groups(snapshot([revision()], [replica("r1")]), SpecCache()) == [
        {
            "targets": ["127.0.0.1:40002"],
            "labels": {
                "service": "chat",
                "revision": "1",
                "replica": "r1",
                "__metrics_path__": "/metrics",
            },
        }
    ]


def test_the_pages_of_monitoring_replace_the_default() -> None:
    pages = [{"port": 9000, "path": "/stats/prometheus"}, {"port": 3000}]
    groups = replica_groups(snapshot([revision(monitoring=pages)], [replica("r1")]), SpecCache())
    assert [(group["targets"], group["labels"]["__metrics_path__"]) for group in groups] == [
        (["127.0.0.1:50002"], "/stats/prometheus"),
        (["127.0.0.1:40002"], "/metrics"),
    ]


@pytest.mark.parametrize("state", ReplicaState)
def test_replicas_that_do_not_serve_are_not_scraped(state: ReplicaState) -> None:
    groups = replica_groups(snapshot([revision()], [replica("r1", state)]), SpecCache())
    assert bool(groups) == (state in (ReplicaState.READY, ReplicaState.DRAINING))


def test_a_revision_that_cannot_be_read_hides_no_other() -> None:
    broken = Revision("chat", 2, {"nonsense": 1}, RevisionPhase.ACTIVE, 1, NOW)
    both = snapshot([broken, revision(1)], [replica("r1"), replica("r2", number=2)])
    [group] = replica_groups(both, SpecCache())
    assert group["labels"]["replica"] == "r1"


def test_the_files_follow_and_are_private(tmp_path: Path) -> None:
    layout, specs = Layout(tmp_path), SpecCache()
    files = TargetFiles(layout)
    files.write_daemons("http://127.0.0.1:8081", "https://127.0.0.1:8090")
    assert read(layout, GATEWAY_JOB) == [
        {"targets": ["127.0.0.1:8081"], "labels": {"__scheme__": "http"}}
    ]
    assert read(layout, CONTROL_JOB)[0]["labels"] == {"__scheme__": "https"}
    files.write_replicas(snapshot([revision()], [replica("r1")]), specs)
    assert len(read(layout, REPLICAS_JOB)) == 1
    files.write_replicas(snapshot([revision()], []), specs)
    assert read(layout, REPLICAS_JOB) == []
    assert stat.S_IMODE(target_file(layout, REPLICAS_JOB).stat().st_mode) == 0o600


def test_an_unchanged_file_is_not_written_again(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    one = snapshot([revision()], [replica("r1")])
    path = target_file(layout, REPLICAS_JOB)
    TargetFiles(layout).write_replicas(one, SpecCache())
    inode = path.stat().st_ino
    files = TargetFiles(layout)  # as after a restart
    for _ in range(2):
        files.write_replicas(one, SpecCache())
        assert path.stat().st_ino == inode
    files.write_replicas(snapshot([], []), SpecCache())
    assert path.stat().st_ino != inode
