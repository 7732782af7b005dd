"""A dashboard as the JSON that Grafana 9 and later import."""

from collections.abc import Iterator
from typing import Any

from headrace.control.monitoring.grafana.panel import Dashboard, Panel, Row, Variable

Json = dict[str, Any]

SCHEMA_VERSION = 37
DATASOURCE: Json = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
_NUM_COLUMNS = 24
_PANEL_HEIGHT = 8
_STAT_HEIGHT = 4


def to_json(dashboard: Dashboard) -> Json:
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["headrace"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [],
        "templating": {
            "list": [_datasource_variable(), *map(_variable, dashboard.variables)],
        },
        "panels": list(_panels(dashboard.rows)),
    }


def _panels(rows: tuple[Row, ...]) -> Iterator[Json]:
    number, y = 1, 0
    for row in rows:
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"h": 1, "w": _NUM_COLUMNS, "x": 0, "y": y},
        }
        number, y, x, height = number + 1, y + 1, 0, 0
        for panel in row.panels:
            if x + panel.width > _NUM_COLUMNS:
                x, y = 0, y + height
            height = _STAT_HEIGHT if panel.kind == "stat" else _PANEL_HEIGHT
            grid = {"h": height, "w": panel.width, "x": x, "y": y}
            yield {"id": number, "gridPos": grid, **_panel(panel)}
            number, x = number + 1, x + panel.width
        y += height


def _panel(panel: Panel) -> Json:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": DATASOURCE,
                "editorMode": "code",
                "expr": query.expr,
                "legendFormat": query.legend or "__auto",
                "range": panel.kind != "table",
                "instant": panel.kind == "table",
                **({"format": "table"} if panel.kind == "table" else {}),
            }
            for index, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
    }


def _defaults(panel: Panel) -> Json:
    defaults: Json = {"unit": panel.unit}
    if panel.kind == "timeseries":
        defaults |= {
            "min": 0,
            "custom": {"lineWidth": 1, "fillOpacity": 8, "showPoints": "never"},
        }
    return defaults


def _options(panel: Panel) -> Json:
    if panel.kind == "timeseries":
        return {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    if panel.kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "area"}
    return {}


def _datasource_variable() -> Json:
    return {
        "name": "DS_PROMETHEUS",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "current": {"text": "Headrace", "value": "headrace"},
    }


def _variable(variable: Variable) -> Json:
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": variable.query,
        "query": {"query": variable.query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }
