"""`headrace up --monitoring`: a real Prometheus scrapes gateway, control plane and replicas under
load, and every query of every dashboard returns data."""

import json
import os
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.control.processes.ports import find_free_port
from headrace.core.home import headrace_home
from headrace.testing.processes.platform_process import PlatformProcess
from headrace.testing.processes.prometheus_process import (
    PrometheusClient,
    is_prometheus_installed,
    panel_queries,
    variable_queries,
)
from headrace.testing.raw_http import post

pytestmark = [
    pytest.mark.xdist_group("platforms"),
    pytest.mark.skipif(not is_prometheus_installed(), reason="needs Prometheus"),
]

MODEL = "smollm2-135m"
SERVE = f"headrace serve {MODEL} --port 3000 --max-model-len 512 --kv-cache-memory 64MiB"
REVISION = f"run: {SERVE}\nports: [3000]\n"
GATEWAY = "enabled: true\ntargets: [{number: 1, port: 3000, weight: 100}]\n"
VARIABLES = {
    "service": ".*",
    "revision": ".*",
    "replica": ".*",
    "model": ".*",
    "model_name": MODEL,
    "Deployment_id": MODEL,
    "__rate_interval": "20s",
    "__interval": "20s",
    "__range": "60s",
}
DEADLINE_S = 90.0
BODY = {"model": MODEL, "prompt": "Once upon a time", "max_tokens": 8}


@pytest.fixture
def port() -> int:
    return find_free_port()


@pytest.fixture
def platform(tmp_path: Path, port: int) -> Iterator[PlatformProcess]:
    home = tmp_path / "home"
    home.mkdir()
    for shared in ("models", "cache"):  # neither fetched nor compiled again
        (headrace_home() / shared).mkdir(parents=True, exist_ok=True)
        (home / shared).symlink_to(headrace_home() / shared)
    options = ("--no-containers", "--monitoring", "--monitoring-port", str(port))
    with PlatformProcess(home, *options, cwd=tmp_path) as platform:
        yield platform


def give_load(platform: PlatformProcess) -> None:
    stream = {"stream": True, "stream_options": {"include_usage": True}}
    for more in ({}, stream):
        assert post(platform.url, "/chat/v1/completions", {**BODY, **more}).status == 200


def wait_for_data(
    platform: PlatformProcess, prometheus: PrometheusClient, queries: list[str]
) -> list[str]:
    """Queries that returned no number until the deadline, under constant load."""
    deadline = time.monotonic() + DEADLINE_S
    missing = list(dict.fromkeys(queries))
    while missing and time.monotonic() < deadline:
        give_load(platform)
        missing = [query for query in missing if not prometheus.has_data(query)]
    return missing


@pytest.mark.slow
def test_every_query_of_every_dashboard_returns_data(
    platform: PlatformProcess, port: int, tmp_path: Path
) -> None:
    prometheus = PrometheusClient(f"http://127.0.0.1:{port}")
    status = {part["name"]: part for part in platform.run_json("status")}
    assert status["Prometheus server"]["state"] == "running"
    assert status["Prometheus server"]["address"] == prometheus.url

    (tmp_path / "revision.yaml").write_text(REVISION)
    (tmp_path / "gateway.yaml").write_text(GATEWAY)
    platform.run("service", "create", "chat")
    platform.run("revision", "create", "-s", "chat", "-f", "revision.yaml")
    platform.wait_running("chat", 1)
    platform.run("gateway", "update", "-s", "chat", "-f", "gateway.yaml")

    platform.run("monitoring", "export", "monitoring")
    files = sorted((tmp_path / "monitoring/grafana/dashboards").glob("*.json"))
    assert len(files) == 2
    if folder := os.environ.get("HEADRACE_TEST_DASHBOARDS"):
        given = sorted(Path(folder).glob("*.json"))
        assert given, folder
        files += given
    dashboards = [json.loads(file.read_text()) for file in files]
    queries = [query for one in dashboards for query in panel_queries(one, VARIABLES)]
    assert len(queries) > 80
    assert wait_for_data(platform, prometheus, queries) == []
    for dashboard in dashboards:
        for query in variable_queries(dashboard, VARIABLES):
            assert prometheus.variable_values(query), query

    jobs = {
        target["labels"]["job"]: target["health"]
        for target in prometheus.get("targets")["activeTargets"]
    }
    assert jobs == dict.fromkeys(
        ("headrace-gateway", "headrace-control-plane", "headrace-replicas"), "up"
    )
    [replica] = platform.run_json("revision", "read", "-s", "chat", "-n", "1")["replicas"]
    [up] = prometheus.query('up{job="headrace-replicas"}')
    assert up["metric"]["replica"] == replica["replica_id"]
    [group] = prometheus.get("rules")["groups"]
    assert {rule["health"] for rule in group["rules"]} == {"ok"}
    # While the first replica starts, HeadraceNoReadyReplica is pending.
    firing = [alert for alert in prometheus.get("alerts")["alerts"] if alert["state"] == "firing"]
    assert firing == []


def test_prometheus_is_restarted_and_stopped_with_the_platform(
    platform: PlatformProcess, port: int
) -> None:
    def is_ready() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    pid = platform.pid_of("prometheus")
    os.kill(pid, 9)
    platform.wait_until(lambda: platform.pid_of("prometheus") != pid, "it is started again")
    platform.wait_until(is_ready, "it is ready again")
    assert "Stopped Prometheus." in platform.run("down")
    assert not is_ready()


def test_without_prometheus_the_error_says_what_to_install(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    platform = PlatformProcess(home, "--monitoring", env={"PATH": str(tmp_path)})
    failed = platform.try_up()
    assert failed.returncode == 1
    assert "apt install prometheus" in failed.stderr
    assert "headrace monitoring export DIR" in failed.stderr
    assert not (home / "control" / "platform.json").exists()
    assert "Nothing is running" in platform.run("down")
