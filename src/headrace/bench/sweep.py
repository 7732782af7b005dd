"""One run per load, in increasing order, up to saturation."""

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
"""Takes the index of the run, so that each run has its own prompts, and the load."""


@dataclass(frozen=True)
class SweepOutcome:
    measured: list[MeasuredRun]
    """By increasing load. The last one has no point in the curve if it ended early."""
    curve: SweepCurve
    stopped_because: str | None = None
    """Why loads were skipped; None if all were run."""
    skipped: list[float] = field(default_factory=list)
    """The loads that were not run."""
    ended_by: BenchError | None = None
    """Why it ended early; None if it completed or stopped at saturation."""


def run_sweep(
    axis: Axis, loads: Sequence[float], measure_load: MeasureLoad, *, stops_when_saturated: bool
) -> SweepOutcome:
    """An error (the client is the bottleneck, the server is gone, Ctrl-C, a bug) ends the sweep
    early: completed runs are returned. It is raised if no run completed."""
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
    reason = f"The sweep ended early at {left[0]:g}." if left else None
    return SweepOutcome(measured, curve, reason, left, ended_by)


def check_loads(loads: Sequence[float]) -> list[float]:
    """Sorted, without duplicates. Raises OptionError."""
    ordered = sorted(set(loads))
    if not ordered:
        raise OptionError("There is no load to run: give --request-rates 1,2,4,8.")
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
