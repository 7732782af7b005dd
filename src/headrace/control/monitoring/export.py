"""Writes the files for Prometheus and Grafana into a folder.

The same files, without Grafana's, configure the Prometheus of `headrace up --monitoring`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from headrace.control.errors import ConflictError, cause_of
from headrace.control.layout import Layout
from headrace.control.monitoring.grafana.dashboard import to_json
from headrace.control.monitoring.grafana.model_server import MODEL_SERVER
from headrace.control.monitoring.grafana.platform import PLATFORM
from headrace.control.monitoring.targets import CONTROL_JOB, JOBS, target_file
from headrace.core.errors import InvalidInputError

DASHBOARDS = (PLATFORM, MODEL_SERVER)

Files = dict[Path, str]
"""Text by path below the folder."""


@dataclass(frozen=True, slots=True)
class _Job:
    name: str
    file: str
    """As a YAML string."""


def export(
    folder: Path, layout: Layout, prometheus_url: str, *, overwrite: bool = False
) -> list[Path]:
    """Write all files, and the folder of the targets; returns the files.

    Raises ConflictError if the folder has one of them with other contents, unless ``overwrite``;
    HeadraceError if they cannot be written.
    """
    folder = folder.absolute()
    wanted = prometheus_files(layout) | _grafana_files(folder, layout, prometheus_url)
    if not overwrite:
        _refuse_changed(folder, wanted)
    layout.make()
    _write(folder, wanted)
    return [folder / path for path in wanted]


def write_prometheus_files(layout: Layout) -> Path:
    """Write the configuration of the platform's own Prometheus; returns its path."""
    _write(layout.monitoring, prometheus_files(layout))
    return layout.monitoring / "prometheus.yml"


def prometheus_files(layout: Layout) -> Files:
    jobs = [_Job(job, json.dumps(str(target_file(layout, job)))) for job in JOBS]
    return {
        Path("prometheus.yml"): _rendered("prometheus.yml", jobs=jobs, control_job=CONTROL_JOB),
        Path("rules/headrace.yml"): _text("alerts.yml"),
    }


def _grafana_files(folder: Path, layout: Layout, prometheus_url: str) -> Files:
    dashboards = Path("grafana/dashboards")
    provisioning = Path("grafana/provisioning")
    return {
        provisioning / "datasources/headrace.yml": _rendered(
            "datasource.yml", prometheus_url=json.dumps(prometheus_url)
        ),
        provisioning / "dashboards/headrace.yml": _rendered(
            "dashboards.yml", dashboards=json.dumps(str(folder / dashboards))
        ),
        **{
            dashboards / f"{dashboard.uid}.json": json.dumps(to_json(dashboard), indent=2) + "\n"
            for dashboard in DASHBOARDS
        },
        Path("README.md"): _rendered(
            "README.md",
            home=layout.home,
            folder=folder,
            targets=layout.scrape_targets,
            prometheus_url=prometheus_url,
        ),
    }


def _text(name: str) -> str:
    return (files(__package__) / "files" / name).read_text(encoding="utf-8")


def _rendered(name: str, **values: object) -> str:
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(_text(name)).render(values)


def _refuse_changed(folder: Path, wanted: Mapping[Path, str]) -> None:
    changed = [str(path) for path, text in wanted.items() if _differs(folder / path, text)]
    if changed:
        raise ConflictError(
            f"{folder} has other versions of {', '.join(changed)}. "
            "Use --overwrite to replace them, or another folder."
        )


def _differs(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") != text
    except FileNotFoundError:
        return False
    except (OSError, UnicodeDecodeError):
        return True


def _write(folder: Path, wanted: Mapping[Path, str]) -> None:
    try:
        for path, text in wanted.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"Cannot write to {folder}: {cause_of(error)}") from None
