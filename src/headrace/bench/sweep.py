"""One run for each load, from the least to the greatest: the curve to saturation.

Knows no HTTP: it is told how to measure one load.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from headrace.bench.errors import BenchError, OptionError, as_bench_error
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
    ended_by: BenchError | None = None
    """What broke it off; None if it came to its end, or the server was saturated."""


def run_sweep(
    axis: Axis, loads: Sequence[float], measure_load: MeasureLoad, *, stops_when_saturated: bool
) -> SweepOutcome:
    """Whatever goes wrong with the first load is raised; at a later one (a client that cannot keep
    up, a server that is gone, Ctrl-C) the sweep ends there, and what came before it stands."""
    loads = _checked(loads)
    measured: list[Measured] = []
    for index, load in enumerate(loads):
        try:
            measured.append(measure_load(index, load))
        except (BenchError, KeyboardInterrupt) as error:
            if not measured:
                raise
            curve = _curve(axis, loads, measured)
            reason = f"The sweep was broken off at {load:g}."
            return SweepOutcome(measured, curve, reason, loads[index:], as_bench_error(error))
        curve = _curve(axis, loads, measured)
        left = loads[index + 1 :]
        if stops_when_saturated and left and is_saturated(curve.points):
            return SweepOutcome(measured, curve, f"The server is saturated at {load:g}.", left)
    return SweepOutcome(measured, curve)


def _checked(loads: Sequence[float]) -> list[float]:
    ordered = sorted(set(loads))
    if not ordered:
        raise OptionError("There is no load to run; write --request-rates 1,2,4,8.")
    if not all(0 < load < float("inf") for load in ordered):
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
