"""Aligned series of the metrics of one revision, from its blocks. Pure."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from operator import mul

from headrace.control.history.block import COARSE, FINE, Block, Resolution
from headrace.control.history.revision_sample import METRICS

_NUM_DECIMALS = 6
"""Of values: float32 has no more."""

_WEIGHTS: Mapping[str, str] = {
    "ttft_p50_s": "requests_per_s",
    "ttft_p95_s": "requests_per_s",
    "inter_token_latency_p50_s": "generation_tokens_per_s",
    "inter_token_latency_p95_s": "generation_tokens_per_s",
    "prefix_cache_hit_ratio": "prompt_tokens_per_s",
}
"""Metrics whose mean is weighted by another one: those of single requests or tokens."""


class Period(StrEnum):
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Window:
    """``num_steps`` steps of ``step_s`` from ``begins_at``, in Unix time."""

    resolution: Resolution
    """Of the stored samples."""
    begins_at: int
    step_s: int
    num_steps: int

    @property
    def ends_at(self) -> int:
        return self.begins_at + self.step_s * self.num_steps

    def times(self) -> list[int]:
        """When each step begins."""
        return list(range(self.begins_at, self.ends_at, self.step_s))


@dataclass(frozen=True, slots=True)
class _Shape:
    resolution: Resolution
    step_s: int
    num_steps: int


_SHAPES: Mapping[Period, _Shape] = {
    Period.HOUR: _Shape(FINE, 15, 240),
    Period.DAY: _Shape(COARSE, 300, 288),
    Period.MONTH: _Shape(COARSE, 3600, 720),
}

Series = Mapping[str, list[float | None]]
"""By metric; one value per step of the window."""


def window_of(period: Period, ends_at_s: float) -> Window:
    """The last complete steps before ``ends_at_s``."""
    shape = _SHAPES[period]
    end = math.floor(ends_at_s / shape.step_s) * shape.step_s
    begin = end - shape.step_s * shape.num_steps
    return Window(shape.resolution, begin, shape.step_s, shape.num_steps)


def series_of(blocks: Iterable[Block], window: Window) -> Series:
    """None where there is no sample. ``blocks`` in any order; of the window's resolution."""
    columns = _aligned(blocks, window)
    if window.step_s != window.resolution.step_s:
        columns = _downsampled(columns, window.step_s // window.resolution.step_s)
    return {
        metric: [
            round(value, _NUM_DECIMALS) if math.isfinite(value) else None
            for value in columns[metric]
        ]
        for metric in METRICS
    }


def _aligned(blocks: Iterable[Block], window: Window) -> dict[str, array[float]]:
    """With the stored resolution."""
    step_s = window.resolution.step_s
    num = (window.ends_at - window.begins_at) // step_s
    columns = {metric: array("f", [math.nan]) * num for metric in METRICS}
    for block in blocks:
        first = (block.begins_at - window.begins_at) // step_s
        begin, end = max(first, 0), min(first + block.resolution.num_steps, num)
        if begin >= end:
            continue
        for metric, column in zip(METRICS, block.columns, strict=True):
            columns[metric][begin:end] = column[begin - first : end - first]
    return columns


def _downsampled(columns: Mapping[str, array[float]], factor: int) -> dict[str, array[float]]:
    """Means of ``factor`` steps each, of those that are known."""
    shorter = {}
    for metric, values in columns.items():
        weights = columns.get(_WEIGHTS.get(metric, ""))
        shorter[metric] = array(
            "f",
            (
                _mean(
                    values[at : at + factor],
                    None if weights is None else weights[at : at + factor],
                )
                for at in range(0, len(values), factor)
            ),
        )
    return shorter


def _mean(values: array[float], weights: array[float] | None) -> float:
    """NaN if no value is known. Without any weight all values weigh the same."""
    if weights is None:
        total, num = sum(values), float(len(values))
    else:
        total, num = sum(map(mul, values, weights)), sum(weights)
    if total == total and num > 0:  # none of them is NaN
        return total / num
    known = [index for index, value in enumerate(values) if not math.isnan(value)]
    if weights is not None:
        weighed = [index for index in known if weights[index] > 0]
        if weighed:
            part = sum(weights[index] for index in weighed)
            return sum(values[index] * weights[index] for index in weighed) / part
    return sum(values[index] for index in known) / len(known) if known else math.nan
