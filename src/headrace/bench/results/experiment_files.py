"""The files of an experiment: a result and a CSV of requests per series, and one summary.

Files are named by series, so that several servers, models and tasks can share a folder.
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
    """The files of one series."""

    result: Path
    requests: Path


def files_of(directory: Path, series: Series) -> SeriesFiles:
    """A later series with the same name replaces an earlier one."""
    stem = _stem(series)
    return SeriesFiles(directory / f"{stem}.json", directory / f"{stem}.csv")


def write_folder_summary(directory: Path) -> Path:
    """Write ``summary.csv`` over all results of experiments in the folder."""
    path = directory / SUMMARY_NAME
    write_summary(path, read_summaries(directory))
    return path


def read_summaries(directory: Path) -> list[SeriesSummary]:
    """Of every result of an experiment in the folder; other files are skipped."""
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
    """A portable file name: org/name becomes org-name."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.") or "x"
