"""Units and rounding of numbers for readers."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unit:
    name: str
    factor: float
    """Factor from the base unit."""


MILLISECONDS = Unit("ms", 1000.0)
SECONDS = Unit("s", 1.0)
MEBIBYTES = Unit("MiB", 1 / 2**20)
GIBIBYTES = Unit("GiB", 1 / 2**30)
NOTHING = "–"  # noqa: RUF001 - a dash is intended


def time_unit(values_s: Iterable[float]) -> Unit:
    """Milliseconds if all are below a second, or if some would be tiny in seconds."""
    values = [value for value in values_s if value > 0] or [0.0]
    if max(values) < 1.0 or (max(values) < 10.0 and min(values) < 0.1):
        return MILLISECONDS
    return SECONDS


def memory_unit(values_bytes: Iterable[float]) -> Unit:
    return MEBIBYTES if max(values_bytes, default=0.0) < 4 * 2**30 else GIBIBYTES


def short(value: float | None) -> str:
    """Three significant digits: 0.0123, 1.23, 123, 1,230."""
    if value is None:
        return NOTHING
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".")


def milliseconds(value_s: float | None) -> str:
    return NOTHING if value_s is None else short(value_s * 1000)
