"""The files of an experiment: for each series its result and its requests, for all one summary.

Names say which series a file is of, so that several servers, models and tasks share a folder.
Knows no HTTP and no terminal.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from headrace.bench.errors import ResultFileError
from headrace.bench.figures.series_summary import SeriesSummary, summarize
from headrace.bench.results.experiment_csv import write_summary
from headrace.bench.results.result_file import RunResult, read_result

KIND = "experiment"
SUMMARY_NAME = "summary.csv"


@dataclass(frozen=True)
class Series:
    """The rounds of one server, model, task, mode and parallelism."""

    task: str
    mode: str
    parallel: int
    runs: list[RunResult]
    """One per round, with their records; the last one may have ended early."""


@dataclass(frozen=True, slots=True)
class SeriesFiles:
    """Where one series was written."""

    result: Path
    requests: Path


def files_of(directory: Path, series: Series) -> SeriesFiles:
    """Where the files of one series are; an earlier series of the same name has the same."""
    stem = _stem(series)
    return SeriesFiles(directory / f"{stem}.json", directory / f"{stem}.csv")


def write_folder_summary(directory: Path) -> Path:
    """Write ``summary.csv`` of all the experiment's results in the folder, old and new."""
    path = directory / SUMMARY_NAME
    write_summary(path, read_summaries(directory))
    return path


def read_summaries(directory: Path) -> list[SeriesSummary]:
    """Of every result of an experiment in the folder; other files are passed over."""
    summaries = []
    for path in sorted(directory.glob("*.json")):
        try:
            result = read_result(path)
        except ResultFileError:
            continue
        if result.kind == KIND and result.runs:
            summaries.append(summarize(result.runs))
    return sorted(summaries, key=lambda each: (each.model, each.task, each.mode, each.parallel))


def _stem(series: Series) -> str:
    """``headrace_smollm2-135m_chat_stream_p1``"""
    run = series.runs[0]
    parts = (run.target, run.server.model, series.task, series.mode, f"p{series.parallel}")
    return "_".join(_slug(part) for part in parts)


def _slug(text: str) -> str:
    """Fit for a file's name, whatever the system: org/name becomes org-name."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.") or "x"
