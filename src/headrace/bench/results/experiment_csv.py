"""The experiment's tables as CSV: one row a request, and one row a series.

Knows the seven figures of the experiment and their columns, no charts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from headrace.bench.figures.distribution import Distribution, distribution_of
from headrace.bench.figures.run_figures import generation_speed, output_tokens
from headrace.bench.memory.memory_watch import MemorySample, MemoryUse
from headrace.bench.records import RequestRecord
from headrace.bench.results.csv_file import write_csv
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
"""Both throughputs are those of the request's round; memory is that at the request's end."""

_SPREAD = ("mean", "std", "p50", "p90", "p95", "p99")

SUMMARY_COLUMNS = (
    "server",
    "model",
    "task",
    "mode",
    "parallel",
    "num_rounds",
    "num_requests",
    "num_failed",
    *(f"total_latency_s_{name}" for name in _SPREAD),
    *(f"p2ft_s_{name}" for name in _SPREAD),
    *(f"token_generation_speed_tok_per_s_{name}" for name in _SPREAD),
    "request_throughput_req_per_s_mean",
    "request_throughput_req_per_s_std",
    "token_throughput_tok_per_s_mean",
    "token_throughput_tok_per_s_std",
    "gpu_memory_mib_peak",
    "host_memory_mib_peak",
    "output_tokens_mean",
)
"""Latency, P2FT and speed spread over all requests; throughputs over the rounds."""


@dataclass(frozen=True, slots=True)
class SeriesSummary:
    """The rounds of one series as one: what the summary's row, the terminal and the report show."""

    server: str
    model: str
    task: str
    mode: str
    parallel: int
    num_rounds: int
    num_requests: int
    num_failed: int
    latency_s: Distribution | None
    p2ft_s: Distribution | None
    """None if not streamed."""
    generation_tokens_per_s: Distribution | None
    requests_per_s: Distribution
    """Over the rounds."""
    output_tokens_per_s: Distribution
    """Over the rounds."""
    gpu_peak_bytes: int | None
    host_peak_bytes: int | None
    output_tokens_mean: float | None
    """Of successful requests. Where it differs between servers, so did the work."""


def summarize(runs: Sequence[RunResult]) -> SeriesSummary:
    """The rounds of one series, at least one, as one; those that ended early are left out, unless
    all did."""
    runs = [run for run in runs if not run.is_interrupted] or runs
    setting = runs[0].setting
    records = [record for run in runs for record in run.records or []]
    good = [record for record in records if record.is_successful]
    tokens = _known(output_tokens(record) for record in good)
    memories = [run.memory for run in runs if run.memory is not None]
    return SeriesSummary(
        server=runs[0].target,
        model=runs[0].server.model,
        task=str(setting.get("task", "")),
        mode=str(setting.get("mode", "")),
        parallel=int(setting.get("parallel", 1)),
        num_rounds=len(runs),
        num_requests=sum(run.figures.num_requests for run in runs),
        num_failed=sum(run.figures.num_failed for run in runs),
        latency_s=distribution_of([record.latency_s for record in good]),
        p2ft_s=distribution_of(_known(record.ttft_s for record in good)),
        generation_tokens_per_s=distribution_of(_known(map(generation_speed, good))),
        requests_per_s=_over_rounds([run.figures.requests_per_s for run in runs]),
        output_tokens_per_s=_over_rounds([run.figures.output_tokens_per_s for run in runs]),
        gpu_peak_bytes=_peak(memory.gpu_peak_bytes for memory in memories),
        host_peak_bytes=_peak(memory.host_peak_bytes for memory in memories),
        output_tokens_mean=fmean(tokens) if tokens else None,
    )


def write_requests(path: Path, runs: Sequence[RunResult]) -> None:
    """One row a request, round after round; replaces what was there."""
    write_csv(
        path, REQUEST_COLUMNS, (_request_row(run, r) for run in runs for r in run.records or [])
    )


def write_summary(path: Path, summaries: Iterable[SeriesSummary]) -> None:
    """One row a series; replaces what was there."""
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
        *_spread(summary.latency_s),
        *_spread(summary.p2ft_s),
        *_spread(summary.generation_tokens_per_s),
        _number(summary.requests_per_s.mean),
        _number(summary.requests_per_s.std),
        _number(summary.output_tokens_per_s.mean),
        _number(summary.output_tokens_per_s.std),
        _mib(summary.gpu_peak_bytes),
        _mib(summary.host_peak_bytes),
        _number(summary.output_tokens_mean),
    ]


def _memory_at(memory: MemoryUse | None, at_s: float) -> MemorySample | None:
    """The sample nearest to that moment."""
    if memory is None or not memory.samples:
        return None
    return min(memory.samples, key=lambda sample: abs(sample.at_s - at_s))


def _over_rounds(values: Sequence[float]) -> Distribution:
    distribution = distribution_of(values)
    assert distribution is not None, "a series has at least one round"
    return distribution


def _spread(distribution: Distribution | None) -> list[str | None]:
    return [
        None if distribution is None else _number(getattr(distribution, name)) for name in _SPREAD
    ]


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _peak(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


def _number(value: float | None) -> str | None:
    """To the microsecond; more is noise."""
    return None if value is None else f"{value:.6f}"


def _mib(num_bytes: int | None) -> str | None:
    return None if num_bytes is None else f"{num_bytes / MIB:.1f}"
