"""Builds the page from results, and renders it as one HTML file, and charts as PNG files.

1. ``build`` draws all charts that the results have data for.
2. ``render`` inserts them into the template, as SVG.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import jinja2
from markupsafe import Markup

from headrace.bench.errors import ResultFileError
from headrace.bench.report.charts import style
from headrace.bench.report.charts.comparison_chart import comparison_chart
from headrace.bench.report.charts.histogram_chart import spread_chart
from headrace.bench.report.charts.latency_chart import first_token_chart, latency_chart
from headrace.bench.report.charts.memory_chart import memory_over_time_chart, peak_memory_chart
from headrace.bench.report.charts.run_chart import run_chart, runs_table
from headrace.bench.report.charts.style import Colours
from headrace.bench.report.charts.sweep_chart import sweep_chart
from headrace.bench.report.charts.throughput_chart import throughput_chart
from headrace.bench.report.collection import Collection, Entry
from headrace.bench.report.elements import Chart, Section, Table
from headrace.bench.report.provenance import Provenance, caveats_of, provenance_of
from headrace.bench.report.series import models_of, series_of
from headrace.bench.report.units import milliseconds, short


@dataclass(frozen=True)
class Report:
    title: str
    sections: Sequence[Section]
    colours: Colours
    servers: Sequence[str]
    caveats: Sequence[str]
    provenance: Provenance

    @property
    def charts(self) -> list[Chart]:
        return [chart for section in self.sections for chart in section.charts]


def build(collection: Collection, title: str) -> Report:
    """Draw all sections."""
    colours = Colours(_names(collection))
    with style.applied():
        sections = [
            *_experiment_sections(collection, colours),
            _comparisons(collection, colours),
            _sweeps(collection, colours),
            _runs(collection, colours),
            _offline(collection),
        ]
    return Report(
        title=title,
        sections=[section for section in sections if section.charts],
        colours=colours,
        servers=collection.servers,
        caveats=caveats_of(collection),
        provenance=provenance_of(collection),
    )


def render(report: Report, written_at: datetime) -> str:
    """One self-contained HTML file."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("headrace.bench.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    with style.applied():
        svgs = {
            chart.name: Markup(style.to_svg(chart.figure, chart.name, chart.title))
            for chart in report.charts
            if chart.figure is not None
        }
    return environment.get_template("report.html.jinja").render(
        report=report, svgs=svgs, written_at=written_at.strftime("%Y-%m-%d %H:%M %Z").strip()
    )


def write_pngs(report: Report, directory: Path) -> list[Path]:
    """One file per chart; raises ResultFileError."""
    paths = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with style.applied():
            for chart in report.charts:
                if chart.figure is not None:
                    path = directory / f"{chart.name}.png"
                    path.write_bytes(style.to_png(chart.figure))
                    paths.append(path)
    except OSError as error:
        raise ResultFileError(f"Cannot write to {directory}: {error.strerror}.") from error
    return paths


def _experiment_sections(collection: Collection, colours: Colours) -> list[Section]:
    """One section per model."""
    series = series_of(collection.of_kind("experiment"))
    sections = []
    for number, model in enumerate(models_of(series)):
        name = f"experiment-{number + 1}"
        ours = [each for each in series if each.summary.model == model]
        drawn = [
            draw(ours, colours, name)
            for draw in (
                latency_chart,
                first_token_chart,
                throughput_chart,
                peak_memory_chart,
                memory_over_time_chart,
                spread_chart,
            )
        ]
        sections.append(
            Section(
                f"Experiment: {model}",
                "The same prompts of each task, sent to each server in several rounds: at "
                "concurrency 1 for latency, at higher concurrency for throughput.",
                [chart for chart in drawn if chart is not None],
            )
        )
    return sections


def _comparisons(collection: Collection, colours: Colours) -> Section:
    entries = collection.of_kind("compare")
    charts = [comparison_chart(e, colours, _slug("compare", e, entries)) for e in entries]
    return Section(
        "Comparison",
        "Targets measured on the same prompts in interleaved rounds, in alternating order. "
        "Only ratios within a round are compared, as machines drift.",
        [chart for chart in charts if chart is not None],
    )


def _sweeps(collection: Collection, colours: Colours) -> Section:
    entries = collection.of_kind("sweep")
    charts = [sweep_chart(e, colours, _slug("sweep", e, entries)) for e in entries]
    return Section(
        "Sweep",
        "One server under increasing load, up to saturation.",
        [chart for chart in charts if chart is not None],
    )


def _runs(collection: Collection, colours: Colours) -> Section:
    entries = [e for e in collection.of_kind("serve", "load") if e.result.runs]
    if not entries:
        return Section("Single runs", "")
    charts = [run_chart(e, colours, _slug("run", e, entries)) for e in entries]
    overview = Chart("runs", "All runs side by side", (), None, runs_table(entries))
    return Section(
        "Single runs",
        "Runs of one workload each.",
        [overview, *(chart for chart in charts if chart is not None)],
    )


def _offline(collection: Collection) -> Section:
    entries = [e for e in collection.of_kind("throughput", "latency") if e.result.offline]
    if not entries:
        return Section("Offline", "")
    meaning = [
        "Batches of prompts, generated by the engine in one process, without a server: an upper "
        "bound for a server with this engine."
    ]
    table = Chart("offline", "Engine alone", meaning, None, _offline_table(entries))
    return Section("Offline", "The engine without a server.", [table])


def _offline_table(entries: Sequence[Entry]) -> Table:
    rows = []
    for entry in entries:
        offline = entry.result.offline
        if offline is None:
            continue
        rows.append(
            [
                entry.name,
                offline.engine.model,
                offline.engine.dtype or "",
                str(offline.num_prompts),
                str(offline.input_len),
                str(offline.output_len),
                short(offline.output_tokens_per_s),
                short(offline.total_tokens_per_s),
                milliseconds(offline.batch_s.p50),
                milliseconds(offline.batch_s.p99),
                milliseconds(offline.time_per_token_s),
            ]
        )
    return Table(
        (
            *("file", "model", "dtype", "prompts", "tokens in", "tokens out", "output tokens/s"),
            *("all tokens/s", "batch p50", "p99", "per token"),
        ),
        rows,
        "Times in milliseconds.",
    )


def _names(collection: Collection) -> list[str]:
    """Servers and targets of comparisons, all of which have colours."""
    ratios = [ratio for entry in collection.entries for ratio in entry.result.comparison or []]
    targets = {ratio.target for ratio in ratios} | {ratio.base for ratio in ratios}
    return sorted({*collection.servers, *targets})


def _slug(kind: str, entry: Entry, entries: Sequence[Entry]) -> str:
    """Valid as an id and as a file name."""
    return f"{kind}-{entries.index(entry) + 1}"
