"""Figures of the offline modes, which run the engine without a server."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from headrace.bench.errors import BenchError
from headrace.bench.figures.distribution import Distribution, distribution_of
from headrace.bench.memory.memory_watch import MemoryUse

OfflineMode = Literal["throughput", "latency"]


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """The engine and its settings."""

    model: str
    dtype: str | None
    max_model_len: int
    settings: dict[str, str]
    """As printed at startup, by name."""


@dataclass(frozen=True, slots=True)
class OfflineFigures:
    """The figures of one or more batches of the same size."""

    mode: OfflineMode
    engine: EngineInfo
    num_prompts: int
    """Per batch; all are submitted at once."""
    input_len: int
    """Tokens per prompt."""
    output_len: int
    """Output tokens per prompt; the end token is ignored."""
    batch_s: Distribution
    """Time from a batch's submission to its last token."""
    requests_per_s: float
    """num_prompts / median batch_s"""
    output_tokens_per_s: float
    """num_prompts * output_len / median batch_s"""
    total_tokens_per_s: float
    """num_prompts * (input_len + output_len) / median batch_s"""
    time_per_token_s: float
    """median batch_s / output_len; about the time of a decode step if prompts are short."""
    memory: MemoryUse | None
    batches_s: list[float]
    """The time of each batch, in order."""


def offline_figures(
    mode: OfflineMode,
    engine: EngineInfo,
    *,
    num_prompts: int,
    input_len: int,
    output_len: int,
    batches_s: Sequence[float],
    memory: MemoryUse | None,
) -> OfflineFigures:
    batch_s = distribution_of(batches_s)
    if batch_s is None:
        raise BenchError("Nothing was measured; --num-iters must be at least 1.")
    requests_per_s = num_prompts / batch_s.median
    return OfflineFigures(
        mode=mode,
        engine=engine,
        num_prompts=num_prompts,
        input_len=input_len,
        output_len=output_len,
        batch_s=batch_s,
        requests_per_s=requests_per_s,
        output_tokens_per_s=requests_per_s * output_len,
        total_tokens_per_s=requests_per_s * (input_len + output_len),
        time_per_token_s=batch_s.median / output_len,
        memory=memory,
        batches_s=list(batches_s),
    )
