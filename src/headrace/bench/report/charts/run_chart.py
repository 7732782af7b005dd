"""Single runs of ``bench serve`` and ``bench load``: percentiles, histograms, memory."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from headrace.bench.figures.distribution import Distribution
from headrace.bench.report.charts.bars import Bar, draw_bars
from headrace.bench.report.charts.histogram_chart import draw_histogram
from headrace.bench.report.charts.memory_chart import draw_run_memory
from headrace.bench.report.charts.style import Colours, new_figure, panels
from headrace.bench.report.collection import Entry, server_label
from headrace.bench.report.elements import Chart, Table
from headrace.bench.report.units import milliseconds, short, time_unit
from headrace.bench.results.result_file import RunResult

PERCENTILES = ("p50", "p90", "p95", "p99")


def runs_table(entries: Sequence[Entry]) -> Table:
    """One row per run."""
    rows = []
    for entry in entries:
        for run in entry.result.runs:
            figures = run.figures
            rows.append(
                [
                    entry.name,
                    server_label(run),
                    run.server.model,
                    describe_load(run),
                    f"{figures.num_successful}/{figures.num_requests}",
                    short(figures.requests_per_s),
                    short(figures.output_tokens_per_s),
                    *_quantiles(figures.ttft_s),
                    *_quantiles(figures.tpot_s),
                    *_quantiles(figures.latency_s),
                ]
            )
    return Table(
        (
            *("file", "server", "model", "load", "answered", "requests/s", "output tokens/s"),
            *("TTFT p50", "p99", "TPOT p50", "p99", "latency p50", "p99"),
        ),
        rows,
        "Times in milliseconds. TPOT is the time per output token after the first.",
    )


def run_chart(entry: Entry, colours: Colours, name: str) -> Chart | None:
    """The first run of a file; None if no request succeeded."""
    run = entry.result.runs[0]
    figures = run.figures
    if figures.latency_s is None:
        return None
    server = server_label(run)
    records = [record for record in run.records or [] if record.is_successful]
    ttfts_s = [record.ttft_s for record in records if record.ttft_s is not None]
    has_memory = run.memory is not None and len(run.memory.samples) > 1
    num_panels = 1 + bool(records) + bool(ttfts_s) + has_memory
    figure = new_figure(max(4.6, 3.1 * num_panels), 3.0)
    axes = iter(panels(figure, 1, num_panels))
    _draw_percentiles(next(axes), run, colours)
    if records:
        axis = next(axes)
        latencies_s = [record.latency_s for record in records]
        draw_histogram(axis, {server: latencies_s}, colours)
        _label_histogram(axis, "total latency", latencies_s)
    if ttfts_s:
        axis = next(axes)
        draw_histogram(axis, {server: ttfts_s}, colours)
        _label_histogram(axis, "time to first token", ttfts_s)
    if has_memory:
        draw_run_memory(next(axes), [run], colours.fill(server))
    meaning = [
        f"{figures.num_successful} of {figures.num_requests} requests to {server} succeeded "
        f"in {short(figures.duration_s)} s ({describe_load(run)}): "
        f"{short(figures.requests_per_s)} requests and {short(figures.output_tokens_per_s)} output "
        "tokens per second. Bars that rise steeply from p50 to p99 indicate uneven latency."
    ]
    if not records:
        meaning.append("For histograms, use --save-records.")
    title = f"{entry.name}: {entry.result.kind}, {server}"
    return Chart(f"{name}-run", title, meaning, figure)


def describe_load(run: RunResult) -> str:
    """``concurrency 4`` or ``3 requests/s``"""
    setting = run.setting
    if setting.get("arrivals") == "closed loop":
        return f"concurrency {setting.get('concurrency')}"
    if setting.get("arrivals") == "trace":
        return "as in the trace"
    rate = setting.get("request_rate")
    return "all at once" if rate == "inf" else f"{rate} requests/s"


def _draw_percentiles(axes: Axes, run: RunResult, colours: Colours) -> None:
    """Latency, one bar per percentile."""
    latency_s = run.figures.latency_s
    assert latency_s is not None, "checked by the caller"
    values = [getattr(latency_s, name) for name in PERCENTILES]
    unit = time_unit(values)
    bars = [Bar.plain(value * unit.factor) for value in values]
    draw_bars(axes, PERCENTILES, {server_label(run): bars}, colours)
    axes.set_title("total latency")
    axes.set_ylabel(unit.name)


def _label_histogram(axes: Axes, what: str, values_s: Sequence[float]) -> None:
    axes.set_title(f"spread of {what}")
    axes.set_xlabel(time_unit(values_s).name)
    axes.set_ylabel("requests")


def _quantiles(distribution: Distribution | None) -> list[str]:
    if distribution is None:
        return [milliseconds(None), milliseconds(None)]
    return [milliseconds(distribution.p50), milliseconds(distribution.p99)]
