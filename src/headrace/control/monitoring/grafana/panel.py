"""What a dashboard shows: rows of panels, each with its queries."""

from dataclasses import dataclass
from typing import Literal

PanelKind = Literal["timeseries", "stat", "table"]

REQUESTS_PER_S = "reqps"
SECONDS = "s"
COUNT = "short"
FRACTION = "percentunit"
BYTES = "bytes"
TOKENS_PER_S = "tokens/s"
CORES = "cores"
"""Units, by Grafana's names; others are shown as they are."""


@dataclass(frozen=True, slots=True)
class Query:
    """A query and the legend of its series, as Grafana has them: ``{{label}}``."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    unit: str
    queries: tuple[Query, ...]
    description: str = ""
    kind: PanelKind = "timeseries"
    width: int = 8
    """Of 24 columns."""


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A selection at the top of the dashboard, with ``All`` as its default."""

    name: str
    label: str
    query: str
    """``label_values(METRIC, LABEL)``"""


@dataclass(frozen=True, slots=True)
class Dashboard:
    uid: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]


def quantiles(metric: str, selector: str, by: str, legend: str) -> tuple[Query, ...]:
    """The median, the 95th and the 99th percentile of a histogram, by the labels ``by``."""
    labels = f"{by}, le" if by else "le"
    return tuple(
        Query(
            f"histogram_quantile({quantile}, sum by ({labels}) "
            f"(rate({metric}_bucket{{{selector}}}[$__rate_interval])))",
            f"{legend} p{round(quantile * 100)}".strip(),
        )
        for quantile in (0.5, 0.95, 0.99)
    )


def rate(metric: str, selector: str, by: str) -> str:
    """The sum of a counter's rate, by the labels ``by``."""
    return f"sum by ({by}) (rate({metric}{{{selector}}}[$__rate_interval]))"
