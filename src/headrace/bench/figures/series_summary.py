"""The figures of one series of the experiment: its rounds taken together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Protocol

from headrace.bench.figures.distribution import Distribution, distribution_of
from headrace.bench.figures.run_figures import Figures, generation_speed, output_tokens
from headrace.bench.http.server_info import ServerInfo
from headrace.bench.memory.memory_watch import MemoryUse
from headrace.bench.records import RequestRecord


class Round(Protocol):
    """One run of a series, as ``results.result_file.RunResult`` has it."""

    @property
    def target(self) -> str: ...
    @property
    def server(self) -> ServerInfo: ...
    @property
    def setting(self) -> Mapping[str, Any]: ...
    @property
    def figures(self) -> Figures: ...
    @property
    def memory(self) -> MemoryUse | None: ...
    @property
    def records(self) -> Sequence[RequestRecord] | None: ...
    @property
    def is_interrupted(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class SeriesSummary:
    """One series over all its rounds: a row of the summary, the terminal's table and the report."""

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
    """Of successful requests. Latencies of servers with different means are not comparable."""


def summarize(runs: Sequence[Round]) -> SeriesSummary:
    """Summarize one or more rounds of a series. Interrupted rounds are skipped, unless all were."""
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


def _over_rounds(values: Sequence[float]) -> Distribution:
    distribution = distribution_of(values)
    assert distribution is not None, "a series has at least one round"
    return distribution


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _peak(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)
