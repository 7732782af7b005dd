"""Numbers as a reader wants them: a fitting unit, and no digit more than is meant."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unit:
    name: str
    factor: float
    """What a value in base units is multiplied by."""


MILLISECONDS = Unit("ms", 1000.0)
SECONDS = Unit("s", 1.0)
MEBIBYTES = Unit("MiB", 1 / 2**20)
GIBIBYTES = Unit("GiB", 1 / 2**30)
NOTHING = "–"  # noqa: RUF001 - it is meant to be a dash


def time_unit(values_s: Iterable[float]) -> Unit:
    """Milliseconds where all are below a second, or where a second would make some of them tiny."""
    values = [value for value in values_s if value > 0] or [0.0]
    if max(values) < 1.0 or (max(values) < 10.0 and min(values) < 0.1):
        return MILLISECONDS
    return SECONDS


def memory_unit(values_bytes: Iterable[float]) -> Unit:
    return MEBIBYTES if max(values_bytes, default=0.0) < 4 * 2**30 else GIBIBYTES


def short(value: float | None) -> str:
    """Three digits that count: 0.0123, 1.23, 123, 1,230."""
    if value is None:
        return NOTHING
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".")


def milliseconds(value_s: float | None) -> str:
    return NOTHING if value_s is None else short(value_s * 1000)
