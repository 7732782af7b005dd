"""Token throughput by concurrency, one panel per task."""

from collections.abc import Sequence

from headrace.bench.report.charts.bars import Bar, draw_bars, draw_legend
from headrace.bench.report.charts.style import Colours, new_figure, panels
from headrace.bench.report.elements import Chart, Table
from headrace.bench.report.series import ChartedSeries, find, modes_of, servers_of, tasks_of
from headrace.bench.report.units import short


def throughput_chart(series: Sequence[ChartedSeries], colours: Colours, name: str) -> Chart | None:
    """Of one model's series; None if all ran at concurrency 1."""
    concurrent = {(e.summary.task, e.summary.mode) for e in series if e.summary.parallel > 1}
    series = [each for each in series if (each.summary.task, each.summary.mode) in concurrent]
    if not series:
        return None
    tasks, modes, servers = tasks_of(series), modes_of(series), servers_of(series)
    parallels = sorted({each.summary.parallel for each in series})
    panel_width = 0.9 + 0.42 * len(parallels) * (len(servers) + 0.4)
    figure = new_figure(max(4.6, len(tasks) * panel_width), 0.5 + 2.9 * len(modes))
    places = [(mode, task) for mode in modes for task in tasks]
    for axes, (mode, task) in zip(panels(figure, len(modes), len(tasks)), places, strict=True):
        if (task, mode) not in concurrent:
            axes.set_axis_off()
            continue
        bars = {
            server: [_bar(find(series, server, task, mode, parallel)) for parallel in parallels]
            for server in servers
        }
        draw_bars(axes, [str(parallel) for parallel in parallels], bars, colours)
        axes.set_title(f"{task}, {mode}")
        axes.set_xlabel("concurrency")
        axes.set_ylabel("output tokens/s")
    draw_legend(figure, servers, colours)
    return Chart(
        f"{name}-throughput",
        "Token throughput by concurrency",
        [
            "Each bar is the total output tokens/s of the server at that concurrency; higher is "
            "better. It is the mean over the rounds, with whiskers from the minimum to the "
            "maximum. With batching, throughput grows with concurrency.",
            *_says(series),
        ],
        figure,
        _table(series),
    )


def _bar(found: ChartedSeries | None) -> Bar | None:
    if found is None:
        return None
    rate = found.summary.output_tokens_per_s
    return Bar(rate.mean, rate.min, rate.max)


def _says(series: Sequence[ChartedSeries]) -> list[str]:
    """The gain of each server from the lowest to the highest concurrency."""
    said = []
    for task in tasks_of(series)[:1]:
        mode = next(mode for mode in reversed(modes_of(series)))
        for server in servers_of(series):
            rates = {
                each.summary.parallel: each.summary.output_tokens_per_s.mean
                for each in series
                if (each.server, each.summary.task, each.summary.mode) == (server, task, mode)
            }
            fewest, most = min(rates, default=0), max(rates, default=0)
            if fewest == most or not rates[fewest]:
                continue
            said.append(
                f"On {task} ({mode}), from concurrency {fewest} to {most}, {server} goes from "
                f"{short(rates[fewest])} to {short(rates[most])} tokens/s "
                f"({short(rates[most] / rates[fewest])} times)."
            )
    return said


def _table(series: Sequence[ChartedSeries]) -> Table:
    order = {server: number for number, server in enumerate(servers_of(series))}
    tasks = tasks_of(series)
    rows = []
    for each in sorted(
        series,
        key=lambda one: (
            tasks.index(one.summary.task),
            one.summary.mode,
            one.summary.parallel,
            order[one.server],
        ),
    ):
        summary = each.summary
        speed = summary.generation_tokens_per_s
        rows.append(
            [
                summary.task,
                summary.mode,
                str(summary.parallel),
                each.server,
                short(summary.output_tokens_per_s.mean),
                short(summary.output_tokens_per_s.std),
                short(summary.requests_per_s.mean),
                short(None if speed is None else speed.p50),
                str(summary.num_rounds),
                str(summary.num_failed),
            ]
        )
    return Table(
        (
            *("task", "mode", "concurrency", "server", "output tokens/s", "std over rounds"),
            *("requests/s", "tokens/s per request, median", "rounds", "failed"),
        ),
        rows,
    )
