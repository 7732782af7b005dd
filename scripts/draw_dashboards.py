"""Draws the panels of our Grafana dashboards for the docs, from a real Prometheus' answers.

    python scripts/draw_dashboards.py --prometheus http://127.0.0.1:9090 --minutes 10 --out docs

For each dashboard one PNG, ``grafana-UID.png``: uPlot draws the panels in Chromium, with Grafana's
grid, units and legends. First start the platform with ``headrace up --monitoring`` and give it
load.
"""

import argparse
import json
import math
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from headrace.control.monitoring.grafana.model_server import MODEL_SERVER
from headrace.control.monitoring.grafana.panel import Dashboard, Panel, Query, Row
from headrace.control.monitoring.grafana.platform import PLATFORM
from headrace.testing.browser import find_chromium, running_chromium
from headrace.testing.processes.prometheus_process import PrometheusClient

WIDTH = 1200
NUM_POINTS = 120
MAX_NUM_SERIES = 8
"""Of one panel."""
MIN_RATE_S = 60
"""Of ``$__rate_interval``: four scrapes, as Grafana has it."""

_STATIC = files("headrace.dashboard") / "static" / "vendor" / "uplot"
_PAGE = Path(__file__).with_name("draw_dashboards.html")
_LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")


class Drawing:
    """Reads what a dashboard shows of one period."""

    def __init__(self, prometheus: PrometheusClient, minutes: float, selected: str) -> None:
        """``selected``: the regular expression that all variables have."""
        self._prometheus = prometheus
        self._end = math.floor(time.time())
        self._seconds = 60 * minutes
        self._step = max(round(self._seconds / NUM_POINTS), 1)
        self._selected = selected

    def content(self, dashboard: Dashboard, rows: Sequence[Row]) -> dict[str, Any]:
        """As the page draws it."""
        return {
            "title": dashboard.title,
            "rows": [
                {"title": row.title, "panels": [self._panel(dashboard, one) for one in row.panels]}
                for row in rows
            ],
        }

    def _panel(self, dashboard: Dashboard, panel: Panel) -> dict[str, Any]:
        times = [self._end - self._seconds + self._step * index for index in range(NUM_POINTS + 1)]
        series = [one for query in panel.queries for one in self._series(dashboard, query, times)]
        return {
            "title": panel.title,
            "unit": panel.unit,
            "kind": panel.kind,
            "width": panel.width,
            "times": times,
            "series": series[:MAX_NUM_SERIES],
        }

    def _series(
        self, dashboard: Dashboard, query: Query, times: Sequence[float]
    ) -> Iterator[dict[str, Any]]:
        found = self._prometheus.get(
            "query_range",
            {
                "query": self._filled(dashboard, query.expr),
                "start": str(times[0]),
                "end": str(times[-1]),
                "step": str(self._step),
            },
        )["result"]
        for one in found:
            values = {round(float(at)): float(text) for at, text in one["values"]}
            yield {
                "label": _legend(query.legend, one["metric"]),
                "values": [_number(values.get(round(at))) for at in times],
            }

    def _filled(self, dashboard: Dashboard, expression: str) -> str:
        """With values in place of Grafana's variables."""
        values = {
            **{variable.name: self._selected for variable in dashboard.variables},
            "__rate_interval": f"{max(MIN_RATE_S, 4 * self._step)}s",
            "__interval": f"{self._step}s",
            "__range": f"{round(self._seconds)}s",
        }
        return re.sub(r"\$\{?(\w+)\}?", lambda match: values.get(match[1], match[0]), expression)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", metavar="URL")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--selected", default=".*", help="the variables' regular expression")
    parser.add_argument("--row", action="append", help="title of a row; repeatable; by default all")
    parser.add_argument("--out", type=Path, default=Path("docs"), metavar="FOLDER")
    given = parser.parse_args(arguments)
    executable = find_chromium()
    if executable is None:
        print("Error: Chromium is missing: apt-get install chromium", file=sys.stderr)
        return 1
    drawing = Drawing(PrometheusClient(given.prometheus), given.minutes, given.selected)
    with running_chromium(executable) as browser:
        for dashboard in (PLATFORM, MODEL_SERVER):
            rows = [row for row in dashboard.rows if not given.row or row.title in given.row]
            if not rows:
                continue
            page = browser.new_page(viewport={"width": WIDTH, "height": 800})
            page.set_content(_page(drawing.content(dashboard, rows)))
            page.wait_for_function("window.isDrawn === true")
            path = given.out / f"grafana-{dashboard.uid}.png"
            page.screenshot(path=path, full_page=True)
            print(f"{path}: {path.stat().st_size // 1024} KB")
    return 0


def _page(content: Mapping[str, Any]) -> str:
    text = _PAGE.read_text()
    parts = {
        "/*STYLE*/": (_STATIC / "uPlot.min.css").read_text(),
        "/*UPLOT*/": (_STATIC / "uPlot.iife.min.js").read_text(),
        "/*CONTENT*/": json.dumps(content).replace("</", "<\\/"),
    }
    for mark, part in parts.items():
        text = text.replace(mark, part)
    return text


def _legend(legend: str, labels: Mapping[str, str]) -> str:
    """Grafana's: ``{{label}}`` is the label's value, and without a legend all labels."""
    if not legend:
        return ", ".join(value for name, value in labels.items() if name != "__name__") or "value"
    return _LABEL.sub(lambda match: labels.get(match[1], ""), legend)


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
