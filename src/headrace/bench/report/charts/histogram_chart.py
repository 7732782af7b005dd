"""Histograms of the times of requests, for the experiment's series and for single runs."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from headrace.bench.report.charts.bars import draw_legend
from headrace.bench.report.charts.style import Colours, new_figure, panels
from headrace.bench.report.elements import Chart
from headrace.bench.report.series import ChartedSeries, find, modes_of, servers_of, tasks_of
from headrace.bench.report.units import time_unit

MAX_NUM_BINS = 40
NARROW = 0.5
"""If the minimum is above this share of the maximum, the axis does not start at zero."""


def spread_chart(series: Sequence[ChartedSeries], colours: Colours, name: str) -> Chart | None:
    """Latency and, if streamed, time to first token, at concurrency 1."""
    series = [each for each in series if each.summary.parallel == 1 and each.records]
    if not series:
        return None
    mode = modes_of(series)[-1]
    series = [each for each in series if each.summary.mode == mode]
    tasks, servers = tasks_of(series), servers_of(series)
    rows = ["total latency"] + (["time to first token"] if mode == "stream" else [])
    figure = new_figure(max(4.6, 2.75 * len(tasks)), 0.5 + 2.4 * len(rows))
    places = [(row, task) for row in rows for task in tasks]
    for axes, (row, task) in zip(panels(figure, len(rows), len(tasks)), places, strict=True):
        times_s = {
            server: _times(find(series, server, task, mode, 1), row == rows[0])
            for server in servers
        }
        draw_histogram(axes, times_s, colours)
        axes.set_title(task)
        axes.set_xlabel(f"{row}, {time_unit(_all(times_s)).name}")
        axes.set_ylabel("requests")
    draw_legend(figure, servers, colours)
    return Chart(
        f"{name}-spread",
        f"Distribution of requests ({mode})",
        [
            "Histograms of the times of requests at concurrency 1. Two peaks are two kinds of "
            "prompts, or cached and uncached prefixes; a long tail shows in percentiles 95 and 99.",
        ],
        figure,
    )


def draw_histogram(axes: Axes, times_s: Mapping[str, Sequence[float]], colours: Colours) -> None:
    """All servers in the same bins; in milliseconds or seconds."""
    every = _all(times_s)
    if not every:
        axes.set_axis_off()
        return
    unit = time_unit(every)
    num_bins = min(MAX_NUM_BINS, max(8, int(np.sqrt(len(every)) * 2)))
    edges = np.linspace(min(every) * unit.factor, max(every) * unit.factor * 1.0001, num_bins + 1)
    for server, values in times_s.items():
        if not values:
            continue
        scaled = np.asarray(values) * unit.factor
        colour = colours.fill(server)
        axes.hist(scaled, bins=edges.tolist(), color=colour, alpha=0.55)
        axes.hist(scaled, bins=edges.tolist(), histtype="step", color=colour, linewidth=1.5)
    if edges[0] < NARROW * edges[-1]:
        axes.set_xlim(left=0)  # else the bars would be squeezed into a corner
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _times(found: ChartedSeries | None, is_latency: bool) -> list[float]:
    if found is None:
        return []
    if is_latency:
        return [record.latency_s for record in found.records]
    return [record.ttft_s for record in found.records if record.ttft_s is not None]


def _all(times_s: Mapping[str, Sequence[float]]) -> list[float]:
    return [value for values in times_s.values() for value in values]
