"""The Prometheus of `headrace up --monitoring`: on loopback, with its data in the home."""

import shutil
from collections.abc import Mapping

from headrace.control.errors import LaunchError
from headrace.control.launchers.environment import inherited_environment
from headrace.control.layout import Layout, UpOptions
from headrace.control.supervisor.daemon import DaemonPlan

RETENTION = "15d"
_PROGRAM = "prometheus"


def require_prometheus() -> None:
    """Raises LaunchError if it is not installed."""
    if shutil.which(_PROGRAM) is None:
        raise LaunchError(
            "--monitoring needs Prometheus, and `prometheus` is not on PATH. Install it (Debian, "
            "Ubuntu: apt install prometheus; others: https://prometheus.io/download), or start "
            "without --monitoring and use your own Prometheus: headrace monitoring export DIR"
        )


def prometheus_plan(layout: Layout, options: UpOptions) -> DaemonPlan:
    """Its configuration must be written before it is started."""
    return DaemonPlan(
        name="Prometheus server",
        command=(
            shutil.which(_PROGRAM) or _PROGRAM,
            f"--config.file={layout.monitoring / 'prometheus.yml'}",
            f"--storage.tsdb.path={layout.monitoring / 'data'}",
            f"--storage.tsdb.retention.time={RETENTION}",
            f"--web.listen-address=127.0.0.1:{options.monitoring_port}",
        ),
        health_url=f"{options.monitoring_url}/-/ready",
        listens_on=(("127.0.0.1", options.monitoring_port),),
        record=layout.daemon_file("prometheus"),
        log=layout.daemon_log("prometheus"),
        inherited=_allow_listed,
    )


def _allow_listed(environ: Mapping[str, str]) -> Mapping[str, str]:
    return inherited_environment(environ, everything=False)
