"""One measured run, as every command over HTTP performs it.

1. Find the server's processes, if they are on this machine, and start to sample their memory.
2. Warm up and send the workload (``load_generator.LoadRun``).
3. Reject the run if the client was the bottleneck, unless that is allowed; then mark it.
4. Count tokens with the tokenizer, if one is given, and compute the figures.

Completed requests are never lost: not when the run ends early, and not when one of steps 3 and 4
fails; the others are still done.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

import psutil

from headrace.bench.errors import ClientBoundError, OptionError, attempt, root_cause
from headrace.bench.figures.goodput import GoodputLimits
from headrace.bench.figures.run_figures import bare_figures, figures_of
from headrace.bench.http.credentials import hide_key
from headrace.bench.http.server_info import ServerInfo, ask_server
from headrace.bench.load import event_loop
from headrace.bench.load.arrivals import Arrivals, ClosedLoop, RatedArrivals
from headrace.bench.load.client_health import reason_if_client_bound
from headrace.bench.load.load_generator import LoadRun, Progress
from headrace.bench.memory.memory_watch import MemoryUse, MemoryWatch
from headrace.bench.memory.server_process_tree import ProcessTree, find_server
from headrace.bench.records import BenchTarget, LoadResult, PlannedRequest, RequestRecord, rounded
from headrace.bench.results.measured_run import (
    EndedEarlyError,
    InterruptedRunError,
    MeasuredRun,
    as_bench_error,
)
from headrace.bench.results.result_file import RunResult, shown_base_url

CountTokens = Callable[[Sequence[RequestRecord]], None]
"""Sets ``num_counted_tokens`` of records that have a text."""


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """The requests, and how they are sent."""

    workload: Sequence[PlannedRequest]
    arrivals: Arrivals
    endpoint: str = "completions"
    is_streamed: bool = True
    num_warm_ups: int = 0
    timeout_s: float = 600.0
    extra_body: Mapping[str, object] = field(default_factory=dict)
    setting: Mapping[str, Any] = field(default_factory=dict)
    """Additional entries of RunResult.setting: the data set, the round ..."""

    def __post_init__(self) -> None:
        if self.num_warm_ups < 0:
            raise OptionError(f"--num-warm-ups must not be negative, got {self.num_warm_ups}.")
        if not self.timeout_s > 0:
            raise OptionError(f"--timeout-s must be above 0, got {self.timeout_s:g}.")


@dataclass(frozen=True, kw_only=True)
class MeasurementOptions:
    """What is observed during a run, and what of it is kept."""

    limits: GoodputLimits | None = None
    count_tokens: CountTokens | None = None
    allow_client_bound: bool = False
    watches_memory: bool = True
    server_pid: int | None = None
    """Root of the process tree to sample; by default, the process that listens on the target's
    port."""
    keeps_records: bool = False
    """In the RunResult."""
    keeps_text: bool = False
    """In those records."""


def measure(
    target: BenchTarget,
    plan: RunPlan,
    options: MeasurementOptions,
    on_progress: Callable[[Progress], None] | None = None,
    server: ServerInfo | None = None,
) -> MeasuredRun:
    """Run the plan against the target.

    server: what the target reports about itself, if that is known already.
    Raises ClientBoundError, ServerError and OptionError; raises EndedEarlyError, with the requests
    that had completed, if the run ended early for any reason.
    """
    server = server or ask_server(target)
    tree = _process_tree(target, options)
    load = LoadRun(
        target,
        plan.workload,
        plan.arrivals,
        is_streamed=plan.is_streamed,
        endpoint=plan.endpoint,
        num_warm_ups=plan.num_warm_ups,
        timeout_s=plan.timeout_s,
        on_progress=on_progress,
        keep_text=options.keeps_text or options.count_tokens is not None,
        extra_body=plan.extra_body,
    )
    causes: list[BaseException] = []
    watch = None if tree is None else MemoryWatch(tree)
    try:
        with watch or nullcontext():
            event_loop.run(load.run())
    except BaseException as error:  # completed requests are kept
        causes.append(root_cause(error))
    loaded = load.result()
    if loaded is None:
        if isinstance(causes[0], KeyboardInterrupt):
            raise InterruptedRunError("Interrupted before any request had completed.") from None
        raise causes[0]
    is_interrupted = bool(causes) and len(loaded.records) < len(plan.workload)
    reason = reason_if_client_bound(loaded.client)
    if reason is not None and not options.allow_client_bound and not causes:
        raise ClientBoundError(
            f"{reason} Nothing is reported. To report the run anyway, marked: --allow-client-bound."
        )
    if options.count_tokens is not None:
        attempt(partial(options.count_tokens, loaded.records), causes)
    memory = None
    if watch is not None:
        memory = attempt(partial(watch.use, load.began_at), causes)
    run = attempt(partial(_run_result, loaded, plan, options, server, reason, memory), causes)
    if run is not None and not causes:
        return MeasuredRun(run, loaded.records)
    run = run or _bare_result(loaded, plan, server, reason)
    run = replace(run, is_interrupted=is_interrupted)
    raise _ended_early(run, loaded, plan, causes[0])


def describe_arrivals(arrivals: Arrivals) -> dict[str, Any]:
    """For the result file. JSON has no infinity, so it is written as "inf"."""
    if isinstance(arrivals, ClosedLoop):
        kind = "closed loop"
    else:
        kind = "rate" if isinstance(arrivals, RatedArrivals) else "trace"
    values = {each.name: getattr(arrivals, each.name) for each in fields(arrivals)}
    values.pop("seed", None)
    return {
        "arrivals": kind,
        **{
            name: "inf" if isinstance(value, float) and math.isinf(value) else value
            for name, value in values.items()
            if value is not None
        },
    }


def _ended_early(
    run: RunResult, loaded: LoadResult, plan: RunPlan, cause: BaseException
) -> EndedEarlyError:
    key = loaded.target.api_key
    error = as_bench_error(cause)
    problem = hide_key(str(error), key)
    measured = MeasuredRun(replace(run, problem=problem), loaded.records)
    if isinstance(error, InterruptedRunError):
        num_done, num_planned = len(loaded.records), len(plan.workload)
        return InterruptedRunError(
            f"Interrupted after {num_done} of {num_planned} requests.", measured
        )
    trace = error.traceback if isinstance(error, EndedEarlyError) else None
    return EndedEarlyError(problem, measured, hide_key(trace, key) if trace else None)


def _process_tree(target: BenchTarget, options: MeasurementOptions) -> ProcessTree | None:
    if not options.watches_memory:
        return None
    if options.server_pid is not None:
        if not psutil.pid_exists(options.server_pid):
            raise OptionError(
                f"--pid {options.server_pid}: there is no such process on this machine."
            )
        return ProcessTree([options.server_pid])
    return find_server(target.base_url)


def _run_result(
    loaded: LoadResult,
    plan: RunPlan,
    options: MeasurementOptions,
    server: ServerInfo,
    reason: str | None,
    memory: MemoryUse | None,
) -> RunResult:
    return RunResult(
        target=loaded.target.name,
        base_url=shown_base_url(loaded.target),
        server=server,
        setting={
            "endpoint": plan.endpoint,
            "is_streamed": plan.is_streamed,
            "num_planned": len(plan.workload),
            "num_warm_ups": plan.num_warm_ups,
            **describe_arrivals(plan.arrivals),
            **plan.setting,
        },
        figures=figures_of(loaded.records, loaded.duration_s, options.limits),
        client=loaded.client,
        client_bound=reason,
        memory=memory,
        records=_for_file(loaded, options.keeps_text) if options.keeps_records else None,
    )


def _bare_result(
    loaded: LoadResult, plan: RunPlan, server: ServerInfo, reason: str | None
) -> RunResult:
    """The records and their counts, for when computing the figures has failed."""
    return RunResult(
        target=loaded.target.name,
        base_url=shown_base_url(loaded.target),
        server=server,
        setting={"endpoint": plan.endpoint, "num_planned": len(plan.workload)},
        figures=bare_figures(loaded.records, loaded.duration_s),
        client=loaded.client,
        client_bound=reason,
        records=[replace(record, text="") for record in loaded.records],
    )


def _for_file(loaded: LoadResult, keeps_text: bool) -> list[RequestRecord]:
    """Rounded, without texts unless those are kept."""
    key = loaded.target.api_key
    return [
        replace(rounded(record), text=hide_key(record.text, key) if keeps_text else "")
        for record in loaded.records
    ]
