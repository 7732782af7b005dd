"""The experiment over tasks: one prompt at a time for latency, or several at once for throughput.

A *series* is one server, model, task, mode and parallelism; each of its rounds sends all prompts
once, in the same order, and is a run of its own in the result file. Knows no HTTP, no files and no
terminal.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from headrace.bench.errors import BenchError, OptionError
from headrace.bench.http.server_info import ServerInfo
from headrace.bench.load.arrivals import ClosedLoop
from headrace.bench.load.load_generator import Progress
from headrace.bench.measurement import MeasurementOptions, RunPlan, measure
from headrace.bench.records import BenchTarget, PlannedRequest, rounded
from headrace.bench.results.experiment_files import Series
from headrace.bench.results.measured_run import EndedEarlyError, MeasuredRun, as_bench_error
from headrace.bench.results.result_file import RunResult

Mode = Literal["sync", "stream"]

DEFAULT_PARALLEL = 8


@dataclass(frozen=True, kw_only=True)
class ExperimentPlan:
    """What is measured."""

    task: str
    mode: Mode
    workload: Sequence[PlannedRequest]
    endpoint: str
    parallels: Sequence[int]
    """One series for each: 1 for latency, more for throughput."""
    num_rounds: int = 10
    num_warm_ups: int = 4
    """Before the first round of each series, not recorded."""
    temperature: float = 0.0
    timeout_s: float = 600.0
    extra_body: Mapping[str, object] = field(default_factory=dict)
    """More fields for each request, with the last word."""
    salts_cache: bool = True
    """Whether each round has a ``cache_salt`` of its own, so that a server that keeps prefixes
    does not answer the second round from the first. Servers that know none ignore it."""
    setting: Mapping[str, Any] = field(default_factory=dict)
    """More for RunResult.setting."""

    def __post_init__(self) -> None:
        if self.num_rounds < 1:
            raise OptionError(f"--repeat must be at least 1, got {self.num_rounds}.")
        if any(parallel < 1 for parallel in self.parallels):
            raise OptionError("--parallel must be at least 1.")
        if self.temperature < 0:
            raise OptionError(f"--temperature must not be negative, got {self.temperature:g}.")


@dataclass(frozen=True)
class ExperimentOutcome:
    """What was measured."""

    series: list[Series]
    ended_by: BenchError | None = None
    """What broke it off; None if all rounds were made."""


def choose_parallels(parallel: int | None, throughput_only: bool) -> list[int]:
    """Latency always, unless told otherwise; throughput where a parallelism is given."""
    if throughput_only:
        return [parallel or DEFAULT_PARALLEL]
    return [1] if parallel is None or parallel == 1 else [1, parallel]


def run_experiment(
    target: BenchTarget,
    plan: ExperimentPlan,
    options: MeasurementOptions,
    server: ServerInfo,
    *,
    on_begin: Callable[[str], None] | None = None,
    on_end: Callable[[Series], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> ExperimentOutcome:
    """Every series, one after another. ``on_begin`` gets each round's name as it begins, ``on_end``
    its series so far when it has ended.

    Any error ends the experiment, and what was measured before it is kept. It is raised if that is
    nothing.
    """
    salt = uuid.uuid4().hex if plan.salts_cache else None
    runs: dict[int, list[RunResult]] = {}
    """By parallelism."""
    ended_by: BenchError | None = None
    parallel = 1
    try:
        for parallel in plan.parallels:
            for number in range(plan.num_rounds):
                if on_begin is not None:
                    on_begin(_label(plan, parallel, number))
                run_plan = _plan_of_round(plan, parallel, number, salt)
                measured = measure(target, run_plan, options, on_progress, server)
                runs.setdefault(parallel, []).append(_slim(measured))
                if on_end is not None:
                    on_end(Series(plan.task, plan.mode, parallel, runs[parallel]))
    except BaseException as error:  # what came before it is worth more
        ended_by = as_bench_error(error)
        if isinstance(ended_by, EndedEarlyError) and ended_by.measured is not None:
            runs.setdefault(parallel, []).append(_slim(ended_by.measured))
        if not runs:
            raise
    series = [Series(plan.task, plan.mode, each, runs[each]) for each in runs]
    return ExperimentOutcome(series, ended_by)


def _plan_of_round(plan: ExperimentPlan, parallel: int, number: int, salt: str | None) -> RunPlan:
    extra_body: dict[str, object] = {"temperature": plan.temperature}
    if salt is not None:
        extra_body["cache_salt"] = f"{salt}-{parallel}-{number}"
    extra_body.update(plan.extra_body)
    return RunPlan(
        workload=plan.workload,
        arrivals=ClosedLoop(parallel),
        endpoint=plan.endpoint,
        is_streamed=plan.mode == "stream",
        num_warm_ups=plan.num_warm_ups if number == 0 else 0,
        timeout_s=plan.timeout_s,
        extra_body=extra_body,
        setting={
            "task": plan.task,
            "mode": plan.mode,
            "parallel": parallel,
            "round": number,
            "temperature": plan.temperature,
            "salts_cache": plan.salts_cache,
            **plan.setting,
        },
    )


def _slim(measured: MeasuredRun) -> RunResult:
    """The run with its records, less what would make its file ten times as large."""
    records = [replace(rounded(each), chunk_times_s=[], text="") for each in measured.records]
    return replace(measured.run, records=records)


def _label(plan: ExperimentPlan, parallel: int, number: int) -> str:
    return f"{plan.task} {plan.mode}, {parallel} at once, {number + 1}/{plan.num_rounds}"
