"""Consecutive samples of one revision in one row: compressed columns of float32.

A block has a fixed number of steps and begins at a multiple of its length, so every time has one
place. Missing values are NaN.
"""

from __future__ import annotations

import math
import sys
import zlib
from array import array
from dataclasses import dataclass

from headrace.control.history.revision_sample import METRICS, RevisionSample

_NAN = float("nan")
_LEVEL = 1
"""zlib's fastest: columns that hardly change compress well at any level."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """One of the rings."""

    step_s: int
    """Length of one sample."""
    num_steps: int
    """Samples in a block."""
    age_s: int
    """How long samples are kept."""

    @property
    def block_s(self) -> int:
        return self.step_s * self.num_steps

    def step_begin(self, at_s: float) -> int:
        """Unix time at which the step of this time begins."""
        return math.floor(at_s / self.step_s) * self.step_s

    def block_begin(self, at_s: float) -> int:
        """Unix time at which the block of this time begins."""
        return math.floor(at_s / self.block_s) * self.block_s


FINE = Resolution(step_s=15, num_steps=20, age_s=24 * 3600)
COARSE = Resolution(step_s=300, num_steps=24, age_s=30 * 24 * 3600)


class Block:
    """The samples of one revision from ``begins_at``, in Unix time."""

    __slots__ = ("begins_at", "columns", "resolution")

    def __init__(
        self, resolution: Resolution, begins_at: int, columns: list[array[float]] | None = None
    ) -> None:
        self.resolution = resolution
        self.begins_at = begins_at
        empty = array("f", [_NAN]) * resolution.num_steps
        self.columns = columns or [empty[:] for _ in METRICS]
        """By metric; one value per step."""

    def put(self, at_s: int, sample: RevisionSample) -> None:
        """Replace the sample of the step that begins at ``at_s``."""
        index = (at_s - self.begins_at) // self.resolution.step_s
        for column, metric in zip(self.columns, METRICS, strict=True):
            value = getattr(sample, metric)
            column[index] = _NAN if value is None or not math.isfinite(value) else value

    def sample(self, at_s: int) -> RevisionSample:
        """The sample of the step that begins at ``at_s``."""
        index = (at_s - self.begins_at) // self.resolution.step_s
        values = (column[index] for column in self.columns)
        return RevisionSample(*(None if math.isnan(value) else value for value in values))

    def encode(self) -> bytes:
        """One byte with the number of metrics, then the compressed columns (little-endian)."""
        whole = array("f")
        for column in self.columns:
            whole.extend(column)
        return bytes((len(self.columns),)) + zlib.compress(_little_endian(whole).tobytes(), _LEVEL)


def decode_block(resolution: Resolution, begins_at: int, encoded: bytes) -> Block:
    """An empty block if ``encoded`` cannot be read: history is not worth an error.

    Metrics that another version of Headrace has appended are left out or empty.
    """
    num_steps = resolution.num_steps
    try:
        num_metrics = encoded[0]
        whole = array("f")
        whole.frombytes(zlib.decompress(encoded[1:]))
    except (IndexError, ValueError, zlib.error):
        return Block(resolution, begins_at)
    if len(whole) != num_metrics * num_steps:
        return Block(resolution, begins_at)
    whole = _little_endian(whole)
    block = Block(resolution, begins_at)
    for index in range(min(num_metrics, len(METRICS))):
        block.columns[index] = whole[index * num_steps : (index + 1) * num_steps]
    return block


def _little_endian(values: array[float]) -> array[float]:
    if sys.byteorder == "big":
        values.byteswap()
    return values
