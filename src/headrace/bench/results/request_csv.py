"""CSV with one row per request (offline: per batch)."""

from collections.abc import Iterable
from pathlib import Path

from headrace.bench.figures.offline_figures import OfflineFigures
from headrace.bench.figures.run_figures import (
    gaps_s,
    generation_speed,
    output_tokens,
    time_per_output_token_s,
)
from headrace.bench.records import RequestRecord
from headrace.bench.results.output_file import write_csv

COLUMNS = (
    "run",
    "target",
    "index",
    "task",
    "sent_s",
    "first_token_s",
    "ended_s",
    "latency_s",
    "ttft_s",
    "tpot_s",
    "mean_itl_s",
    "max_itl_s",
    "generation_tokens_per_s",
    "num_prompt_tokens",
    "num_output_tokens",
    "num_counted_tokens",
    "num_chunks",
    "status",
    "finish_reason",
    "failure",
    "error",
)


class RequestCsv:
    """Collects the rows of one or more runs."""

    def __init__(self) -> None:
        self._rows: list[list[object]] = []
        self._num_runs = 0

    def add_run(self, target: str, records: Iterable[RequestRecord]) -> None:
        for record in records:
            self._rows.append([self._num_runs, target, *_cells(record)])
        self._num_runs += 1

    def write(self, path: Path) -> None:
        """Replaces the file; raises ResultFileError."""
        write_csv(path, COLUMNS, self._rows)


def write_batches(path: Path, figures: OfflineFigures) -> None:
    """One row per batch. Replaces the file; raises ResultFileError."""
    columns = ("batch", "num_prompts", "input_len", "output_len", "batch_s")
    lengths = (figures.num_prompts, figures.input_len, figures.output_len)
    write_csv(
        path,
        columns,
        [[index, *lengths, _seconds(time_s)] for index, time_s in enumerate(figures.batches_s)],
    )


def _cells(record: RequestRecord) -> list[object]:
    """In the order of COLUMNS, from the third on; unknown values are empty."""
    gaps = gaps_s(record)
    return [
        record.index,
        record.task,
        _seconds(record.sent_s),
        _seconds(record.first_token_s),
        _seconds(record.ended_s),
        _seconds(record.latency_s),
        _seconds(record.ttft_s),
        _seconds(time_per_output_token_s(record)),
        _seconds(sum(gaps) / len(gaps) if gaps else None),
        _seconds(max(gaps, default=None)),
        _seconds(generation_speed(record)),
        record.num_prompt_tokens,
        output_tokens(record),
        record.num_counted_tokens,
        len(record.chunk_times_s),
        record.status,
        record.finish_reason,
        record.failure,
        record.error,
    ]


def _seconds(value: float | None) -> str | None:
    """In microsecond resolution."""
    return None if value is None else f"{value:.6f}"
