"""The experiment's series, in the order of the charts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from headrace.bench.figures.series_summary import SeriesSummary, summarize
from headrace.bench.records import RequestRecord
from headrace.bench.report.collection import Entry, server_label
from headrace.bench.results.result_file import RunResult
from headrace.bench.workloads.prompts import PROMPT_SETS

MODES = ("sync", "stream")

Item = TypeVar("Item")


@dataclass(frozen=True)
class ChartedSeries:
    """One server, model, task, mode and concurrency."""

    server: str
    summary: SeriesSummary
    runs: list[RunResult]
    """One per round."""

    @property
    def records(self) -> list[RequestRecord]:
        """The successful requests of all rounds."""
        return [record for run in self.runs for record in run.records or [] if record.is_successful]


def series_of(entries: Iterable[Entry]) -> list[ChartedSeries]:
    """One per file; of two files of the same series, the later one."""
    found: dict[tuple[object, ...], ChartedSeries] = {}
    for entry in sorted(entries, key=lambda entry: entry.result.written_at):
        if not entry.result.runs:
            continue
        server = server_label(entry.result.runs[0])
        summary = summarize(entry.result.runs)
        key = (server, summary.model, summary.task, summary.mode, summary.parallel)
        found[key] = ChartedSeries(server, summary, entry.result.runs)
    return [found[key] for key in sorted(found, key=str)]


def tasks_of(series: Iterable[ChartedSeries]) -> list[str]:
    """Known tasks in the usual order, then others."""
    return _ordered({each.summary.task for each in series}, tuple(PROMPT_SETS))


def modes_of(series: Iterable[ChartedSeries]) -> list[str]:
    return _ordered({each.summary.mode for each in series}, MODES)


def servers_of(series: Iterable[ChartedSeries]) -> list[str]:
    """The naive baseline last, as it has the tallest bar."""
    return sorted({each.server for each in series}, key=lambda name: (name == "baseline", name))


def models_of(series: Iterable[ChartedSeries]) -> list[str]:
    return sorted({each.summary.model for each in series})


def find(
    series: Iterable[ChartedSeries], server: str, task: str, mode: str, parallel: int
) -> ChartedSeries | None:
    """The series of one model; None if it was not measured."""
    for each in series:
        summary = each.summary
        if (each.server, summary.task, summary.mode, summary.parallel) == (
            server,
            task,
            mode,
            parallel,
        ):
            return each
    return None


def _ordered(names: set[str], usual: Sequence[str]) -> list[str]:
    return [name for name in usual if name in names] + sorted(names - set(usual))
