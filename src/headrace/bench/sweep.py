"""One run for each load, from the least to the greatest: the curve to saturation.

Knows no HTTP: it is told how to measure one load.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from headrace.bench.errors import BenchError, OptionError
from headrace.bench.figures.sweep_curve import (
    Axis,
    SweepCurve,
    SweepPoint,
    Throughput,
    curve_of,
    is_saturated,
)
from headrace.bench.results.measured_run import EndedEarlyError, MeasuredRun, as_bench_error

MeasureLoad = Callable[[int, float], MeasuredRun]
"""Given the run's index, which makes its prompts differ from those of other runs, and the load."""


@dataclass(frozen=True)
class SweepOutcome:
    measured: list[MeasuredRun]
    """In the order of their loads. The last one has no point in the curve if it ended early."""
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
    """Any error (a client that cannot keep up, a server that is gone, Ctrl-C, an unforeseen one)
    ends the sweep, and what was measured before it is kept. It is raised if that is nothing."""
    loads = check_loads(loads)
    measured: list[MeasuredRun] = []
    curve = _no_curve(axis)
    causes: list[BaseException] = []
    try:
        for index, load in enumerate(loads):
            measured.append(measure_load(index, load))
            curve = _curve(axis, loads, measured)
            left = loads[len(measured) :]
            if stops_when_saturated and left and is_saturated(curve.points):
                return SweepOutcome(measured, curve, f"The server is saturated at {load:g}.", left)
    except BaseException as error:  # what came before it is worth more
        causes.append(error)
    if not causes:
        return SweepOutcome(measured, curve)
    left = loads[len(measured) :]
    ended_by = as_bench_error(causes[0])
    if isinstance(ended_by, EndedEarlyError) and ended_by.measured is not None:
        measured.append(ended_by.measured)
    if not measured:
        raise causes[0]
    reason = f"The sweep was broken off at {left[0]:g}." if left else None
    return SweepOutcome(measured, curve, reason, left, ended_by)


def check_loads(loads: Sequence[float]) -> list[float]:
    """In rising order, each once. Raises OptionError."""
    ordered = sorted(set(loads))
    if not ordered:
        raise OptionError("There is no load to run; write --request-rates 1,2,4,8.")
    if not all(0 < load < float("inf") for load in ordered):
        raise OptionError("Each load must be a number above 0.")
    return ordered


def _no_curve(axis: Axis) -> SweepCurve:
    return SweepCurve(axis, "requests_per_s", [], None, False)


def _curve(axis: Axis, loads: Sequence[float], measured: Sequence[MeasuredRun]) -> SweepCurve:
    figures = [each.run.figures for each in measured]
    has_tokens = all(each.num_output_tokens for each in figures)
    throughput: Throughput = "output_tokens_per_s" if has_tokens else "requests_per_s"
    points = [
        SweepPoint(load, getattr(each, throughput), run)
        for run, (load, each) in enumerate(zip(loads, figures, strict=False))
    ]
    return curve_of(axis, throughput, points)
