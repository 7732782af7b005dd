"""One run for each load, from the least to the greatest: the curve to saturation.

Knows no HTTP: it is told how to measure one load.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from headrace.bench.errors import ClientBoundError, OptionError
from headrace.bench.figures.sweep_curve import (
    Axis,
    SweepCurve,
    SweepPoint,
    Throughput,
    curve_of,
    is_saturated,
)
from headrace.bench.measurement import Measured

MeasureLoad = Callable[[int, float], Measured]
"""Given the run's index, which makes its prompts differ from those of other runs, and the load."""


@dataclass(frozen=True)
class SweepOutcome:
    measured: list[Measured]
    curve: SweepCurve
    stopped_because: str | None = None
    """Why loads were left out; None if all were run."""
    skipped: list[float] = field(default_factory=list)
    """The loads that were left out."""
    is_client_bound: bool = False
    """Whether that was because the client could not keep up."""


def run_sweep(
    axis: Axis, loads: Sequence[float], measure_load: MeasureLoad, *, stops_when_saturated: bool
) -> SweepOutcome:
    """Raises ClientBoundError if the client cannot keep up even with the first load; at a later
    one the sweep ends there, and what came before it stands."""
    loads = _checked(loads)
    measured: list[Measured] = []
    for index, load in enumerate(loads):
        try:
            measured.append(measure_load(index, load))
        except ClientBoundError as error:
            if not measured:
                raise
            reason = f"At {load:g}, the client could not keep up. {error}"
            curve = _curve(axis, loads, measured)
            return SweepOutcome(measured, curve, reason, loads[index:], is_client_bound=True)
        curve = _curve(axis, loads, measured)
        left = loads[index + 1 :]
        if stops_when_saturated and left and is_saturated(curve.points):
            return SweepOutcome(measured, curve, f"The server is saturated at {load:g}.", left)
    return SweepOutcome(measured, curve)


def _checked(loads: Sequence[float]) -> list[float]:
    ordered = sorted(set(loads))
    if not ordered:
        raise OptionError("There is no load to run; write --request-rates 1,2,4,8.")
    if ordered[0] <= 0 or ordered[-1] == float("inf"):
        raise OptionError("Each load must be a number above 0.")
    return ordered


def _curve(axis: Axis, loads: Sequence[float], measured: Sequence[Measured]) -> SweepCurve:
    figures = [each.run.figures for each in measured]
    has_tokens = all(each.num_output_tokens for each in figures)
    throughput: Throughput = "output_tokens_per_s" if has_tokens else "requests_per_s"
    points = [
        SweepPoint(load, getattr(each, throughput), run)
        for run, (load, each) in enumerate(zip(loads, figures, strict=False))
    ]
    return curve_of(axis, throughput, points)
