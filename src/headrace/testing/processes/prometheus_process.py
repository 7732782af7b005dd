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
NOTHING: Mapping[str, str] = {}
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


class PrometheusClient:
    """Queries one Prometheus."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> list[Any]:
        """The samples of an instant query: ``{"metric": labels, "value": [time, text]}``.

        Raises ValueError, with Prometheus' reason, for an expression that it refuses.
        """
        samples: list[Any] = self.get("query", {"query": expression})["result"]
        return samples

    def label_values(self, label: str) -> list[str]:
        values: list[str] = self.get(f"label/{label}/values", {})
        return values

    def has_data(self, expression: str) -> bool:
        """Whether an instant query gives a number."""
        return any(sample["value"][1] != "NaN" for sample in self.query(expression))

    def variable_values(self, query: str) -> list[str]:
        """The values of a Grafana variable: ``label_values(LABEL)`` or ``label_values(SERIES,
        LABEL)``, as Grafana asks for them."""
        match = re.fullmatch(r"label_values\((?:(.+),\s*)?(\w+)\)", query)
        if match is None:
            raise ValueError(f"not a query for label values: {query}")
        series, label = match.groups()
        if series is None:
            return self.label_values(label)
        found = self.get("series", {"match[]": series})
        return sorted({labels[label] for labels in found if label in labels})

    def get(self, path: str, parameters: Mapping[str, str] = NOTHING) -> Any:
        """The data of a response of the HTTP API. Raises ValueError, with Prometheus' reason."""
        response = request(self.url, "GET", f"/api/v1/{path}?{urlencode(parameters)}")
        if response.status != 200:
            raise ValueError(response.json["error"])
        return response.json["data"]


class PrometheusProcess(AnnouncedProcess, PrometheusClient):
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
        command = ("prometheus", f"--config.file={config}", f"--web.listen-address={address}")
        AnnouncedProcess.__init__(
            self, (*command, f"--storage.tsdb.path={folder / 'data'}"), r"ready to receive"
        )
        PrometheusClient.__init__(self, f"http://{address}")


def panel_queries(dashboard: Mapping[str, Any], variables: Mapping[str, str]) -> list[str]:
    """Every query of a Grafana dashboard's panels and rows, its variables replaced.

    ``variables``: also Grafana's own, such as ``__rate_interval``.
    """

    queries: list[str] = []
    panels = list(dashboard.get("dashboard", dashboard)["panels"])
    while panels:
        panel = panels.pop(0)
        panels += panel.get("panels", [])
        queries += [replaced(target["expr"], variables) for target in panel.get("targets", [])]
    return queries


def variable_queries(dashboard: Mapping[str, Any], variables: Mapping[str, str]) -> list[str]:
    """The query of every variable that has one, other variables replaced in it."""
    found = []
    for variable in dashboard.get("dashboard", dashboard).get("templating", {}).get("list", []):
        query = variable.get("query")
        text = query.get("query", "") if isinstance(query, dict) else ""
        if variable["type"] == "query" and text:
            found.append(replaced(text, variables))
    return found


def replaced(expression: str, variables: Mapping[str, str]) -> str:
    """With the values of ``$name`` and ``${name}``."""
    return re.sub(
        r"\$\{(\w+)(?::\w+)?\}|\$(\w+)",
        lambda match: variables[match[1] or match[2]],
        expression,
    )
