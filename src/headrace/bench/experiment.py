"""The experiment: latency of a task at concurrency 1, throughput at a higher concurrency.

A *series* is one server, model, task, mode and concurrency (``parallel``). Each of its rounds sends
all prompts once, in the same order, and is a run of the result file.
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
    """The task and how it is measured."""

    task: str
    mode: Mode
    workload: Sequence[PlannedRequest]
    endpoint: str
    parallels: Sequence[int]
    """Concurrencies, one series each: 1 for latency, more for throughput."""
    num_rounds: int = 10
    num_warm_ups: int = 4
    """Unmeasured requests before the first round of each series."""
    temperature: float = 0.0
    timeout_s: float = 600.0
    extra_body: Mapping[str, object] = field(default_factory=dict)
    """Additional fields of each request; they override others."""
    salts_cache: bool = True
    """Whether each round has its own ``cache_salt``, so that no prefix is cached from round to
    round. Servers that do not support it ignore it."""
    setting: Mapping[str, Any] = field(default_factory=dict)
    """Additional entries of RunResult.setting."""

    def __post_init__(self) -> None:
        if self.num_rounds < 1:
            raise OptionError(f"--repeat must be at least 1, got {self.num_rounds}.")
        if any(parallel < 1 for parallel in self.parallels):
            raise OptionError("--parallel must be at least 1.")
        if self.temperature < 0:
            raise OptionError(f"--temperature must not be negative, got {self.temperature:g}.")


@dataclass(frozen=True)
class ExperimentOutcome:
    """All series, and why the experiment ended early."""

    series: list[Series]
    ended_by: BenchError | None = None
    """None if all rounds completed."""


def choose_parallels(parallel: int | None, throughput_only: bool) -> list[int]:
    """Latency unless ``throughput_only``; throughput if a concurrency is given."""
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
    """Run all series in turn. ``on_begin`` gets the name of each round when it starts, ``on_end``
    the series so far when it has completed.

    An error ends the experiment early: completed rounds are returned. It is raised if no round
    completed.
    """
    salt = uuid.uuid4().hex if plan.salts_cache else None
    runs: dict[int, list[RunResult]] = {}
    """By concurrency."""
    ended_by: BenchError | None = None
    parallel = 1
    try:
        for parallel in plan.parallels:
            for number in range(plan.num_rounds):
                if on_begin is not None:
                    on_begin(_label(plan, parallel, number))
                run_plan = _plan_of_round(plan, parallel, number, salt)
                measured = measure(target, run_plan, options, on_progress, server)
                runs.setdefault(parallel, []).append(_without_texts(measured))
                if on_end is not None:
                    on_end(Series(plan.task, plan.mode, parallel, runs[parallel]))
    except BaseException as error:  # earlier rounds are kept
        ended_by = as_bench_error(error)
        if isinstance(ended_by, EndedEarlyError) and ended_by.measured is not None:
            runs.setdefault(parallel, []).append(_without_texts(ended_by.measured))
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


def _without_texts(measured: MeasuredRun) -> RunResult:
    """The run with its records, without texts and chunk times, which are 90 % of a file."""
    records = [replace(rounded(each), chunk_times_s=[], text="") for each in measured.records]
    return replace(measured.run, records=records)


def _label(plan: ExperimentPlan, parallel: int, number: int) -> str:
    return f"{plan.task} {plan.mode}, {parallel} at once, {number + 1}/{plan.num_rounds}"
