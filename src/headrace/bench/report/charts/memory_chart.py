"""Memory of the servers: peaks, and over time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from headrace.bench.memory.memory_watch import MemorySample
from headrace.bench.report.charts.bars import Bar, draw_bars, draw_legend
from headrace.bench.report.charts.style import Colours, new_figure, panels
from headrace.bench.report.elements import Chart, Table
from headrace.bench.report.series import ChartedSeries, modes_of, servers_of, tasks_of
from headrace.bench.report.units import MEBIBYTES, NOTHING, memory_unit, short
from headrace.bench.results.result_file import RunResult


@dataclass(frozen=True)
class _Kind:
    """Host memory, or that of the GPUs."""

    title: str
    read: Callable[[MemorySample], int | None]


KINDS = (
    _Kind("host memory", lambda sample: sample.host_bytes),
    _Kind("GPU memory", lambda sample: sample.gpu_bytes),
)


def peak_memory_chart(series: Sequence[ChartedSeries], colours: Colours, name: str) -> Chart | None:
    """By concurrency; None if no memory was sampled."""
    kinds = [kind for kind in KINDS if any(_peak(each, kind) for each in series)]
    if not kinds:
        return None
    servers = servers_of(series)
    parallels = sorted({each.summary.parallel for each in series})
    panel_width = 1.2 + 0.48 * len(parallels) * (len(servers) + 0.4)
    figure = new_figure(max(4.6, len(kinds) * panel_width), 3.3)
    for axes, kind in zip(panels(figure, 1, len(kinds)), kinds, strict=True):
        peaks = {
            server: [_highest(series, server, parallel, kind) for parallel in parallels]
            for server in servers
        }
        unit = memory_unit(peak for row in peaks.values() for peak in row if peak)
        bars = {
            server: [None if peak is None else Bar.plain(peak * unit.factor) for peak in row]
            for server, row in peaks.items()
        }
        draw_bars(axes, [str(parallel) for parallel in parallels], bars, colours)
        axes.set_title(f"peak {kind.title}")
        axes.set_xlabel("concurrency")
        axes.set_ylabel(unit.name)
    draw_legend(figure, servers, colours)
    return Chart(
        f"{name}-peak-memory",
        "Peak memory",
        [
            "Peak memory of a server over all tasks; lower is better. Host memory is RSS of the "
            "server's processes, which includes weights and KV cache on the CPU. A server that "
            "allocates its KV cache at startup uses the same at any concurrency.",
        ],
        figure,
        _peak_table(series),
    )


def memory_over_time_chart(
    series: Sequence[ChartedSeries], colours: Colours, name: str
) -> Chart | None:
    """Of one task and mode, one panel per concurrency."""
    series = [each for each in series if any(run.memory is not None for run in each.runs)]
    if not series:
        return None
    most = max(
        ((task, mode) for task in tasks_of(series) for mode in modes_of(series)),
        key=lambda place: len({e.summary.parallel for e in series if _place(e) == place}),
    )
    series = [each for each in series if _place(each) == most]
    kinds = [kind for kind in KINDS if any(_peak(each, kind) for each in series)]
    parallels = sorted({each.summary.parallel for each in series})
    servers = servers_of(series)
    figure = new_figure(max(5.0, 3.3 * len(parallels)), 0.5 + 2.5 * len(kinds))
    places = [(kind, parallel) for kind in kinds for parallel in parallels]
    for axes, (kind, parallel) in zip(
        panels(figure, len(kinds), len(parallels), share_y=len(kinds) == 1), places, strict=True
    ):
        chosen = [each for each in series if each.summary.parallel == parallel]
        highest = [peak for each in series if (peak := _peak(each, kind)) is not None]
        unit = memory_unit(highest)
        for each in chosen:
            _draw_line(axes, each.runs, kind, unit.factor, colours.fill(each.server))
        axes.set_ylim(0, max(highest, default=1) * unit.factor * 1.12)
        axes.set_xlim(left=0)
        axes.set_title(f"{kind.title}, concurrency {parallel}")
        axes.set_xlabel("seconds, over all rounds")
        axes.set_ylabel(unit.name)
    draw_legend(figure, servers, colours)
    task, mode = most
    return Chart(
        f"{name}-memory-over-time",
        f"Memory over time ({task}, {mode})",
        [
            "Memory of each server over all rounds. A line that rises from round to round is "
            "a leak or a growing cache.",
        ],
        figure,
    )


def draw_run_memory(axes: Axes, runs: Sequence[RunResult], colour: str) -> None:
    """Host memory of single runs, and GPU memory if there is any."""
    kinds = [kind for kind in KINDS if _line(runs, kind, 1.0)[1]]
    highest = [value for kind in kinds for value in _line(runs, kind, 1.0)[1]]
    unit = memory_unit(highest)
    for kind, style in zip(kinds, ("-", "--"), strict=False):
        _draw_line(axes, runs, kind, unit.factor, colour, style, kind.title)
    axes.set_ylim(0, max(highest, default=1) * unit.factor * 1.12)
    axes.set_xlim(left=0)
    axes.set_title("memory over time")
    axes.set_xlabel("seconds")
    axes.set_ylabel(unit.name)
    axes.legend(loc="lower right")


def _draw_line(
    axes: Axes,
    runs: Sequence[RunResult],
    kind: _Kind,
    factor: float,
    colour: str,
    style: str = "-",
    label: str | None = None,
) -> None:
    times, values = _line(runs, kind, factor)
    axes.plot(times, values, style, color=colour, linewidth=2, label=label)


def _line(runs: Sequence[RunResult], kind: _Kind, factor: float) -> tuple[list[float], list[float]]:
    """The samples of all rounds in sequence, without warm-up."""
    times: list[float] = []
    values: list[float] = []
    began_s = 0.0
    for run in runs:
        for sample in run.memory.samples if run.memory else ():
            value = kind.read(sample)
            if value and 0 <= sample.at_s <= run.figures.duration_s:
                times.append(began_s + sample.at_s)
                values.append(value * factor)
        began_s += run.figures.duration_s
    return times, values


def _peak(each: ChartedSeries, kind: _Kind) -> int | None:
    is_host = kind is KINDS[0]
    return each.summary.host_peak_bytes if is_host else each.summary.gpu_peak_bytes


def _highest(
    series: Sequence[ChartedSeries], server: str, parallel: int, kind: _Kind
) -> int | None:
    peaks = [
        peak
        for each in series
        if each.server == server
        and each.summary.parallel == parallel
        and (peak := _peak(each, kind)) is not None
    ]
    return max(peaks, default=None)


def _peak_table(series: Sequence[ChartedSeries]) -> Table:
    rows = []
    for parallel in sorted({each.summary.parallel for each in series}):
        for server in servers_of(series):
            peaks = [_highest(series, server, parallel, kind) for kind in KINDS]
            if any(peaks):
                rows.append([str(parallel), server, *map(_mebibytes, peaks)])
    return Table(["concurrency", "server", "host, MiB", "GPU, MiB"], rows)


def _place(each: ChartedSeries) -> tuple[str, str]:
    return each.summary.task, each.summary.mode


def _mebibytes(num_bytes: int | None) -> str:
    return NOTHING if num_bytes is None else short(num_bytes * MEBIBYTES.factor)
