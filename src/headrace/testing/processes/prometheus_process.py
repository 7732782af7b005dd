"""A real Prometheus server that scrapes given addresses.

Debian's package ``prometheus`` brings it. Its data lies in a folder of the caller's.
"""

import json
import re
import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from headrace.testing.processes.announced_process import AnnouncedProcess
from headrace.testing.raw_http import request

SCRAPE_INTERVAL_S = 0.25
_CONFIG = """\
global:
  scrape_interval: {interval_ms}ms
scrape_configs:
- job_name: {job}
  static_configs:
  - targets: {targets}
"""


def is_prometheus_installed() -> bool:
    return shutil.which("prometheus") is not None


class PrometheusProcess(AnnouncedProcess):
    """Listens on a free port of loopback and is ready at the block's beginning."""

    def __init__(self, folder: Path, urls: Sequence[str], *, job: str = "vllm") -> None:
        """``urls``: of servers whose ``/metrics`` is scraped."""
        self.job = job
        targets = json.dumps([urlsplit(url).netloc for url in urls])
        interval_ms = round(SCRAPE_INTERVAL_S * 1000)
        config = folder / "prometheus.yml"
        config.write_text(_CONFIG.format(interval_ms=interval_ms, job=job, targets=targets))
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"127.0.0.1:{free.getsockname()[1]}"
        self.url = f"http://{address}"
        command = ("prometheus", f"--config.file={config}", f"--web.listen-address={address}")
        super().__init__((*command, f"--storage.tsdb.path={folder / 'data'}"), r"ready to receive")

    def query(self, expression: str) -> list[Any]:
        """The samples of an instant query: ``{"metric": labels, "value": [time, text]}``.

        Raises ValueError, with Prometheus' reason, for an expression that it refuses.
        """
        samples: list[Any] = self._get("query", {"query": expression})["result"]
        return samples

    def label_values(self, label: str) -> list[str]:
        values: list[str] = self._get(f"label/{label}/values", {})
        return values

    def has_data(self, expression: str) -> bool:
        """Whether an instant query returns a number."""
        return any(sample["value"][1] != "NaN" for sample in self.query(expression))

    def _get(self, path: str, parameters: Mapping[str, str]) -> Any:
        response = request(self.url, "GET", f"/api/v1/{path}?{urlencode(parameters)}")
        if response.status != 200:
            raise ValueError(response.json["error"])
        return response.json["data"]


def panel_queries(dashboard: Mapping[str, Any], variables: Mapping[str, str]) -> list[str]:
    """Every query of a Grafana dashboard's panels and rows, its variables replaced.

    ``variables``: also Grafana's own, such as ``__rate_interval``.
    """

    def replaced(expression: str) -> str:
        return re.sub(
            r"\$\{(\w+)(?::\w+)?\}|\$(\w+)",
            lambda match: variables[match[1] or match[2]],
            expression,
        )

    queries: list[str] = []
    panels = list(dashboard.get("dashboard", dashboard)["panels"])
    while panels:
        panel = panels.pop(0)
        panels += panel.get("panels", [])
        queries += [replaced(target["expr"]) for target in panel.get("targets", [])]
    return queries
