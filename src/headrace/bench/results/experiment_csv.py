"""The experiment's CSV files: one row per request, and one row per series."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from headrace.bench.figures.distribution import Distribution
from headrace.bench.figures.run_figures import generation_speed, output_tokens
from headrace.bench.figures.series_summary import SeriesSummary
from headrace.bench.memory.memory_watch import MemorySample, MemoryUse
from headrace.bench.records import RequestRecord
from headrace.bench.results.output_file import write_csv
from headrace.bench.results.result_file import RunResult

MIB = 1 << 20

REQUEST_COLUMNS = (
    "server",
    "model",
    "task",
    "mode",
    "parallel",
    "round",
    "index",
    "total_latency_s",
    "p2ft_s",
    "token_generation_speed_tok_per_s",
    "request_throughput_req_per_s",
    "token_throughput_tok_per_s",
    "gpu_memory_mib",
    "host_memory_mib",
    "num_prompt_tokens",
    "num_output_tokens",
    "finish_reason",
    "status",
    "failure",
    "error",
)
"""Both throughputs are those of the request's round; memory is sampled at the request's end."""

_STATISTICS = ("mean", "std", "p50", "p90", "p95", "p99")

SUMMARY_COLUMNS = (
    "server",
    "model",
    "task",
    "mode",
    "parallel",
    "num_rounds",
    "num_requests",
    "num_failed",
    *(f"total_latency_s_{name}" for name in _STATISTICS),
    *(f"p2ft_s_{name}" for name in _STATISTICS),
    *(f"token_generation_speed_tok_per_s_{name}" for name in _STATISTICS),
    "request_throughput_req_per_s_mean",
    "request_throughput_req_per_s_std",
    "token_throughput_tok_per_s_mean",
    "token_throughput_tok_per_s_std",
    "gpu_memory_mib_peak",
    "host_memory_mib_peak",
    "output_tokens_mean",
)
"""Latency, P2FT and speed are distributions over all requests; throughputs over rounds."""


def write_requests(path: Path, runs: Sequence[RunResult]) -> None:
    """One row per request, round by round; replaces the file."""
    write_csv(
        path, REQUEST_COLUMNS, (_request_row(run, r) for run in runs for r in run.records or [])
    )


def write_summary(path: Path, summaries: Iterable[SeriesSummary]) -> None:
    """One row per series; replaces the file."""
    write_csv(path, SUMMARY_COLUMNS, map(_summary_row, summaries))


def _request_row(run: RunResult, record: RequestRecord) -> list[object]:
    memory = _memory_at(run.memory, record.ended_s)
    setting = run.setting
    return [
        run.target,
        run.server.model,
        setting.get("task"),
        setting.get("mode"),
        setting.get("parallel"),
        setting.get("round"),
        record.index,
        _number(record.latency_s),
        _number(record.ttft_s),
        _number(generation_speed(record)),
        _number(run.figures.requests_per_s),
        _number(run.figures.output_tokens_per_s),
        _mib(None if memory is None else memory.gpu_bytes),
        _mib(None if memory is None else memory.host_bytes),
        record.num_prompt_tokens,
        output_tokens(record),
        record.finish_reason,
        record.status,
        record.failure,
        record.error,
    ]


def _summary_row(summary: SeriesSummary) -> list[object]:
    return [
        summary.server,
        summary.model,
        summary.task,
        summary.mode,
        summary.parallel,
        summary.num_rounds,
        summary.num_requests,
        summary.num_failed,
        *_statistics(summary.latency_s),
        *_statistics(summary.p2ft_s),
        *_statistics(summary.generation_tokens_per_s),
        _number(summary.requests_per_s.mean),
        _number(summary.requests_per_s.std),
        _number(summary.output_tokens_per_s.mean),
        _number(summary.output_tokens_per_s.std),
        _mib(summary.gpu_peak_bytes),
        _mib(summary.host_peak_bytes),
        _number(summary.output_tokens_mean),
    ]


def _memory_at(memory: MemoryUse | None, at_s: float) -> MemorySample | None:
    """The sample closest in time."""
    if memory is None or not memory.samples:
        return None
    return min(memory.samples, key=lambda sample: abs(sample.at_s - at_s))


def _statistics(distribution: Distribution | None) -> list[str | None]:
    return [
        None if distribution is None else _number(getattr(distribution, name))
        for name in _STATISTICS
    ]


def _number(value: float | None) -> str | None:
    """In microsecond resolution."""
    return None if value is None else f"{value:.6f}"


def _mib(num_bytes: int | None) -> str | None:
    return None if num_bytes is None else f"{num_bytes / MIB:.1f}"
