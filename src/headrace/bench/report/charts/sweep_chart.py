"""A sweep: throughput and latency over load, with the knee marked."""

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from headrace.bench.figures.distribution import Distribution
from headrace.bench.figures.run_figures import Figures
from headrace.bench.figures.sweep_curve import SweepCurve
from headrace.bench.report.charts.style import INK, Colours, new_figure, panels
from headrace.bench.report.collection import Entry, server_label
from headrace.bench.report.elements import Chart, Table
from headrace.bench.report.units import milliseconds, short, time_unit
from headrace.bench.results.result_file import BenchResult

_LOADS = {"request_rate": "requests/s offered", "concurrency": "concurrency"}
_THROUGHPUTS = {"output_tokens_per_s": "output tokens/s", "requests_per_s": "requests/s"}

Time = Callable[[Figures], float | None]


def sweep_chart(entry: Entry, colours: Colours, name: str) -> Chart | None:
    """None if the file has no curve."""
    curve = entry.result.sweep
    if curve is None or not curve.points:
        return None
    server = server_label(entry.result.runs[0])
    colour = colours.fill(server)
    figure = new_figure(9.2, 3.5)
    left, right = panels(figure, 1, 2)
    loads = [point.load for point in curve.points]
    left.plot(loads, [point.throughput for point in curve.points], "o-", color=colour, linewidth=2)
    left.set_ylabel(_THROUGHPUTS[curve.throughput])
    left.set_title("throughput")
    _draw_times(right, entry.result, curve, colour)
    for axes in (left, right):
        axes.set_xlabel(_LOADS[curve.axis])
        axes.set_xlim(0, max(loads) * 1.06)
        if curve.axis == "concurrency":
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(0, axes.get_ylim()[1] * 1.06)
        _mark_knee(axes, curve)
    figure.legend(*right.get_legend_handles_labels(), loc="outside upper right", ncols=3)
    return Chart(
        f"{name}-sweep",
        f"{entry.name}: throughput and latency over load, {server}",
        [
            "Each point is one run. As long as throughput grows with load, the server has capacity "
            "left; where it flattens, requests are queued and latency grows instead.",
            _say_knee(curve),
        ],
        figure,
        _table(entry.result, curve),
    )


def _draw_times(axes: Axes, result: BenchResult, curve: SweepCurve, colour: str) -> None:
    lines: list[tuple[str, str, Time]] = [
        ("latency, p99", "^--", lambda f: _quantile(f.latency_s, "p99")),
        ("latency, median", "o-", lambda f: _quantile(f.latency_s, "p50")),
        ("TTFT, median", "s:", lambda f: _quantile(f.ttft_s, "p50")),
    ]
    times = {
        label: [read(result.runs[point.run].figures) for point in curve.points]
        for label, _, read in lines
    }
    unit = time_unit(value for row in times.values() for value in row if value is not None)
    for label, style, _ in lines:
        known = [
            (point.load, value * unit.factor)
            for point, value in zip(curve.points, times[label], strict=True)
            if value is not None
        ]
        if known:
            axes.plot(*zip(*known, strict=True), style, color=colour, linewidth=2, label=label)
    axes.set_ylabel(unit.name)
    axes.set_title("time of a request")


def _mark_knee(axes: Axes, curve: SweepCurve) -> None:
    if curve.knee is None:
        return
    axes.axvline(curve.knee, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.annotate(
        f"knee at {curve.knee:g}",
        (curve.knee, 0.04),
        xycoords=("data", "axes fraction"),
        xytext=(5, 0),
        textcoords="offset points",
        fontsize=9,
    )


def _say_knee(curve: SweepCurve) -> str:
    load = _LOADS[curve.axis]
    best = max(curve.points, key=lambda point: point.throughput)
    top = (
        f"The maximum was {short(best.throughput)} {_THROUGHPUTS[curve.throughput]} "
        f"at {best.load:g} {load}."
    )
    if curve.knee is not None:
        at_knee = next(point for point in curve.points if point.load == curve.knee)
        return (
            f"The knee is at {curve.knee:g} {load}, with {short(at_knee.throughput)} "
            f"{_THROUGHPUTS[curve.throughput]}: above it, more load mainly adds latency. {top}"
        )
    if curve.is_saturated:
        return (
            f"The last increase of load added almost no throughput: the server is saturated. {top}"
        )
    return f"The curve has no knee: the server was not saturated at the highest load. {top}"


def _table(result: BenchResult, curve: SweepCurve) -> Table:
    rows = []
    for point in curve.points:
        figures = result.runs[point.run].figures
        rows.append(
            [
                f"{point.load:g}" + (" (knee)" if point.load == curve.knee else ""),
                short(figures.requests_per_s),
                short(figures.output_tokens_per_s),
                milliseconds(_quantile(figures.ttft_s, "p50")),
                milliseconds(_quantile(figures.ttft_s, "p99")),
                milliseconds(_quantile(figures.tpot_s, "p50")),
                milliseconds(_quantile(figures.latency_s, "p50")),
                milliseconds(_quantile(figures.latency_s, "p99")),
                str(figures.num_failed),
            ]
        )
    return Table(
        (
            *(_LOADS[curve.axis], "requests/s", "output tokens/s", "TTFT p50", "p99", "TPOT p50"),
            *("latency p50", "p99", "failed"),
        ),
        rows,
        "Times in milliseconds.",
    )


def _quantile(distribution: Distribution | None, name: str) -> float | None:
    return None if distribution is None else float(getattr(distribution, name))
