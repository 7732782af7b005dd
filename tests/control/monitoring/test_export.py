"""The exported files, checked by Prometheus' own tool."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.control.errors import ConflictError
from headrace.control.layout import Layout
from headrace.control.monitoring.export import DASHBOARDS, export, write_prometheus_files
from headrace.control.monitoring.grafana.dashboard import to_json
from headrace.control.monitoring.grafana.panel import Dashboard
from headrace.control.monitoring.targets import JOBS, target_file

URL = "http://127.0.0.1:9090"
ALERT_TESTS = Path(__file__).with_name("alert_tests.yml")

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs Prometheus")


def promtool(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        ["promtool", *arguments], capture_output=True, text=True, cwd=cwd, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "a home: 'quoted' # not a comment")


@pytest.fixture
def exported(tmp_path: Path, layout: Layout) -> Path:
    folder = tmp_path / "monitoring"
    export(folder, layout, URL)
    return folder


def test_the_files_are_where_prometheus_and_grafana_look_for_them(
    exported: Path, layout: Layout
) -> None:
    found = {str(path.relative_to(exported)) for path in exported.rglob("*") if path.is_file()}
    assert found == {
        "README.md",
        "prometheus.yml",
        "rules/headrace.yml",
        "grafana/provisioning/datasources/headrace.yml",
        "grafana/provisioning/dashboards/headrace.yml",
        "grafana/dashboards/headrace-platform.json",
        "grafana/dashboards/headrace-model-server.json",
    }
    config = yaml.safe_load((exported / "prometheus.yml").read_text())
    assert [job["job_name"] for job in config["scrape_configs"]] == list(JOBS)
    for job in config["scrape_configs"]:
        [discovery] = job["file_sd_configs"]
        assert discovery["files"] == [str(target_file(layout, job["job_name"]))]
    [datasource] = yaml.safe_load(
        (exported / "grafana/provisioning/datasources/headrace.yml").read_text()
    )["datasources"]
    assert datasource["url"] == URL
    [provider] = yaml.safe_load(
        (exported / "grafana/provisioning/dashboards/headrace.yml").read_text()
    )["providers"]
    assert Path(provider["options"]["path"]) == exported / "grafana/dashboards"
    assert layout.scrape_targets.is_dir()
    assert str(layout.scrape_targets) in (exported / "README.md").read_text()


@needs_promtool
def test_promtool_accepts_configuration_and_rules(exported: Path, layout: Layout) -> None:
    promtool("check", "config", "prometheus.yml", cwd=exported)
    promtool("check", "rules", "rules/headrace.yml", cwd=exported)
    write_prometheus_files(layout)
    promtool("check", "config", "prometheus.yml", cwd=layout.monitoring)


@needs_promtool
def test_alerts_fire_when_they_should(exported: Path) -> None:
    shutil.copyfile(ALERT_TESTS, exported / ALERT_TESTS.name)
    promtool("test", "rules", ALERT_TESTS.name, cwd=exported)


def test_every_alert_is_tested() -> None:
    tests = yaml.safe_load(ALERT_TESTS.read_text())["tests"]
    fired = {
        one["alertname"] for test in tests for one in test["alert_rule_test"] if one["exp_alerts"]
    }
    silent = {
        one["alertname"]
        for test in tests
        for one in test["alert_rule_test"]
        if not one["exp_alerts"]
    }
    assert fired == set(alert_names())
    assert silent == fired


def alert_names() -> list[str]:
    text = (Path(export.__code__.co_filename).parent / "files" / "alerts.yml").read_text()
    return re.findall(r"- alert: (\w+)", text)


def test_a_second_export_changes_nothing(exported: Path, layout: Layout) -> None:
    before = {path: path.read_bytes() for path in exported.rglob("*") if path.is_file()}
    export(exported, layout, URL)
    assert {path: path.read_bytes() for path in exported.rglob("*") if path.is_file()} == before


def test_changed_files_are_replaced_on_request_only(exported: Path, layout: Layout) -> None:
    rules = exported / "rules" / "headrace.yml"
    original = rules.read_text()
    rules.write_text(original.replace("> 0.05", "> 0.01"))
    with pytest.raises(ConflictError, match=r"rules/headrace\.yml.*--overwrite"):
        export(exported, layout, URL)
    assert "> 0.01" in rules.read_text()
    export(exported, layout, URL, overwrite=True)
    assert rules.read_text() == original


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one.uid)
def test_panels_have_ids_and_do_not_overlap(dashboard: Dashboard) -> None:
    panels: list[dict[str, Any]] = json.loads(json.dumps(to_json(dashboard)))["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken
        taken |= cells
    titles = [panel["title"] for panel in panels]
    assert len(set(titles)) == len(titles)
