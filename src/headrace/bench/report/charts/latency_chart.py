"""Latency and time to first token by task and server, at concurrency 1."""

from collections.abc import Callable, Sequence
from math import exp, log

import numpy as np

from headrace.bench.figures.distribution import Distribution
from headrace.bench.report.charts.bars import Bar, draw_bars, draw_legend
from headrace.bench.report.charts.style import Colours, new_figure, panels
from headrace.bench.report.elements import Chart, Table
from headrace.bench.report.series import ChartedSeries, find, modes_of, servers_of, tasks_of
from headrace.bench.report.units import milliseconds, short, time_unit

SPREAD = (10, 90)
"""Percentiles at the ends of a whisker."""
MODE_TITLES = {
    "sync": "sync: whole responses",
    "stream": "stream: streamed responses",
}
DIFFERENT_WORK = 1.1
"""Ratio of mean output lengths above which latencies are not comparable."""

Times = Callable[[ChartedSeries], list[float]]


def latency_chart(series: Sequence[ChartedSeries], colours: Colours, name: str) -> Chart | None:
    """Of one model's series; None if none ran at concurrency 1."""
    return _chart(
        series,
        colours,
        lambda each: [record.latency_s for record in each.records],
        name=f"{name}-latency",
        title="Total latency by task",
        what="Each bar is the median time from sending a request to the last byte of the response, "
        "at concurrency 1; lower is better.",
        spread=lambda each: each.summary.latency_s,
    )


def first_token_chart(series: Sequence[ChartedSeries], colours: Colours, name: str) -> Chart | None:
    """Of one model's streamed series; None if there are none."""
    return _chart(
        [each for each in series if each.summary.p2ft_s is not None],
        colours,
        lambda each: [record.ttft_s for record in each.records if record.ttft_s is not None],
        name=f"{name}-ttft",
        title="Time to first token (P2FT) by task",
        what="Each bar is the median time from sending a request to the first chunk of text, at "
        "concurrency 1; lower is better. Long prompts (summarization) take longer to prefill.",
        spread=lambda each: each.summary.p2ft_s,
    )


def _chart(
    series: Sequence[ChartedSeries],
    colours: Colours,
    times: Times,
    *,
    name: str,
    title: str,
    what: str,
    spread: Callable[[ChartedSeries], Distribution | None],
) -> Chart | None:
    series = [each for each in series if each.summary.parallel == 1 and times(each)]
    if not series:
        return None
    tasks, modes, servers = tasks_of(series), modes_of(series), servers_of(series)
    figure = new_figure(
        max(4.6, len(modes) * (1.2 + 0.42 * len(tasks) * (len(servers) + 0.6))), 3.5
    )
    bars = {
        mode: {
            server: [_bar(find(series, server, task, mode, 1), times) for task in tasks]
            for server in servers
        }
        for mode in modes
    }
    unit = time_unit(
        bar.value for rows in bars.values() for row in rows.values() for bar in row if bar
    )
    for axes, mode in zip(panels(figure, 1, len(modes), share_y=True), modes, strict=True):
        scaled = {
            server: [bar and bar.scaled(unit.factor) for bar in row]
            for server, row in bars[mode].items()
        }
        draw_bars(axes, tasks, scaled, colours)
        axes.set_title(MODE_TITLES.get(mode, mode))
        axes.set_ylabel(f"median, {unit.name}")
    draw_legend(figure, servers, colours)
    meaning = [
        f"{what} Whiskers run from the {SPREAD[0]}th to the {SPREAD[1]}th percentile of the "
        "requests; they show how prompts differ, not the error of the measurement.",
        *_says(series, times),
    ]
    return Chart(name, title, meaning, figure, _table(series, spread))


def _bar(found: ChartedSeries | None, times: Times) -> Bar | None:
    if found is None or not (values := times(found)):
        return None
    low, middle, high = np.percentile(values, (SPREAD[0], 50, SPREAD[1]))
    return Bar(float(middle), float(low), float(high))


def _says(series: Sequence[ChartedSeries], times: Times) -> list[str]:
    """The quickest server against each other one, over the tasks and modes that both have."""
    medians: dict[str, dict[tuple[str, str], float]] = {}
    for each in series:
        key = (each.summary.task, each.summary.mode)
        medians.setdefault(each.server, {})[key] = float(np.median(times(each)))
    if len(medians) < 2:
        return []
    quickest = min(medians, key=lambda server: _geometric_mean(list(medians[server].values())))
    said = []
    for other, theirs in medians.items():
        ratios = [theirs[key] / value for key, value in medians[quickest].items() if key in theirs]
        if other == quickest or not ratios:
            continue
        low, high = short(min(ratios)), short(max(ratios))
        times_as = f"{low} times" if low == high else f"{low} to {high} times"
        said.append(f"{other} takes {times_as} as long as {quickest}, by task and mode.")
    return said + _work_note(series)


def _work_note(series: Sequence[ChartedSeries]) -> list[str]:
    """Latencies are not comparable if output lengths differ."""
    for task in tasks_of(series):
        lengths = {
            each.server: each.summary.output_tokens_mean
            for each in series
            if each.summary.task == task and each.summary.output_tokens_mean
        }
        if lengths and max(lengths.values()) > DIFFERENT_WORK * min(lengths.values()):
            shown = ", ".join(f"{server} {length:.0f}" for server, length in lengths.items())
            return [
                f"Output lengths differ, so latencies are not comparable: for {task}, the mean is "
                f"{shown} tokens. Use --ignore-eos for equal lengths."
            ]
    return []


def _table(
    series: Sequence[ChartedSeries], spread: Callable[[ChartedSeries], Distribution | None]
) -> Table:
    rows = []
    for each in sorted(series, key=lambda one: _row_order(one, series)):
        summary, values = each.summary, spread(each)
        if values is None:
            continue
        numbers = (values.mean, values.std, values.p50, values.p90, values.p95, values.p99)
        rows.append(
            [
                summary.task,
                summary.mode,
                each.server,
                *map(milliseconds, numbers),
                short(summary.output_tokens_mean),
                f"{summary.num_requests - summary.num_failed}",
                str(summary.num_failed),
            ]
        )
    return Table(
        (
            *("task", "mode", "server", "mean", "std", "p50", "p90", "p95", "p99"),
            *("tokens per answer", "answered", "failed"),
        ),
        rows,
        "Times in milliseconds, over all requests of all rounds.",
    )


def _row_order(each: ChartedSeries, series: Sequence[ChartedSeries]) -> tuple[int, int, int]:
    return (
        tasks_of(series).index(each.summary.task),
        modes_of(series).index(each.summary.mode),
        servers_of(series).index(each.server),
    )


def _geometric_mean(values: Sequence[float]) -> float:
    return exp(sum(map(log, values)) / len(values))
