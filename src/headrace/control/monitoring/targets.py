"""What Prometheus scrapes: gateway, control plane and replicas, in files of its file-based
service discovery (``file_sd_configs``), which it reads again when they change."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from headrace.control.layout import Layout
from headrace.control.manifests.revision import MonitoringSpec, RevisionSpec
from headrace.control.private_file import write_private
from headrace.control.resources import Replica, ReplicaState
from headrace.control.snapshot import Snapshot, SpecCache

GATEWAY_JOB = "headrace-gateway"
CONTROL_JOB = "headrace-control-plane"
REPLICAS_JOB = "headrace-replicas"
JOBS = (GATEWAY_JOB, CONTROL_JOB, REPLICAS_JOB)
"""Also the names of the files."""

REPLICA_HOST = "127.0.0.1"
_SCRAPED_STATES = frozenset({ReplicaState.READY, ReplicaState.DRAINING})

TargetGroup = dict[str, Any]
"""``{"targets": ["HOST:PORT"], "labels": {...}}``"""


class TargetFiles:
    """The files of one platform. Each is replaced atomically, and only when it changes."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._written: dict[str, str] = {}

    def write_daemons(self, gateway_admin_url: str, api_url: str) -> None:
        """Raises OSError, as does `write_replicas`."""
        self._write(GATEWAY_JOB, [_daemon_group(gateway_admin_url)])
        self._write(CONTROL_JOB, [_daemon_group(api_url)])

    def write_replicas(self, snapshot: Snapshot, specs: SpecCache) -> None:
        self._write(REPLICAS_JOB, replica_groups(snapshot, specs))

    def _write(self, job: str, groups: Sequence[TargetGroup]) -> None:
        text = json.dumps(groups, indent=2) + "\n"
        path = target_file(self._layout, job)
        if self._written.get(job) == text:
            return
        if _read(path) != text:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(path, text)
        self._written[job] = text


def target_file(layout: Layout, job: str) -> Path:
    return layout.scrape_targets / f"{job}.json"


def replica_groups(snapshot: Snapshot, specs: SpecCache) -> list[TargetGroup]:
    """A group for each metrics page of each ready or draining replica, by revision."""
    return [
        group
        for revision in snapshot.revisions
        if (spec := specs.of(revision)) is not None
        for group in _groups_of(snapshot.replicas_of(revision.key), spec)
    ]


def _groups_of(replicas: Iterable[Replica], spec: RevisionSpec) -> Iterator[TargetGroup]:
    for replica in replicas:
        if replica.state not in _SCRAPED_STATES:
            continue
        for page in _pages(spec):
            host_port = replica.host_ports.get(page.port)
            if host_port is None:
                continue
            yield {
                "targets": [f"{REPLICA_HOST}:{host_port}"],
                "labels": {
                    "service": replica.service,
                    "revision": str(replica.revision),
                    "replica": replica.replica_id,
                    "__metrics_path__": page.path,
                },
            }


def _pages(spec: RevisionSpec) -> Sequence[MonitoringSpec]:
    """The revision's ``monitoring``, or /metrics on its API's port."""
    return spec.monitoring or (MonitoringSpec(port=spec.exposed_port),)


def _daemon_group(url: str) -> TargetGroup:
    parts = urlsplit(url)
    return {"targets": [parts.netloc], "labels": {"__scheme__": parts.scheme}}


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return None
