"""Figures of the offline modes, where no server stands between. Pure; knows no engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from headrace.bench.errors import BenchError
from headrace.bench.figures.distribution import Distribution, distribution_of
from headrace.bench.memory.memory_watch import MemoryUse

OfflineMode = Literal["throughput", "latency"]


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What ran, as the engine chose it at its start."""

    model: str
    dtype: str | None
    max_model_len: int
    settings: dict[str, str]
    """The start's table, by name."""


@dataclass(frozen=True, slots=True)
class OfflineFigures:
    """The same batch of prompts, generated one or more times in this process."""

    mode: OfflineMode
    engine: EngineInfo
    num_prompts: int
    """In one batch; all are submitted at once."""
    input_len: int
    """Tokens of each prompt."""
    output_len: int
    """Tokens generated for each prompt; the end token is ignored."""
    batch_s: Distribution
    """Time of a batch, from its submission to its last token."""
    requests_per_s: float
    """num_prompts / median batch_s"""
    output_tokens_per_s: float
    """num_prompts * output_len / median batch_s"""
    total_tokens_per_s: float
    """num_prompts * (input_len + output_len) / median batch_s"""
    time_per_token_s: float
    """median batch_s / output_len: the time of a step, where the prompt's own is small."""
    memory: MemoryUse | None
    batches_s: list[float]
    """The time of each batch, in their order."""


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
