"""One measured run, as every command over HTTP makes it.

1. Find the server's processes, if they are on this machine, and begin to watch their memory.
2. Warm up and send the workload (``load_generator.run_load``).
3. Refuse what the client itself has slowed down, unless that is allowed; then it is marked.
4. Count tokens with the tokenizer, if one is given, and work out the figures.

Knows no command line, no files and no terminal.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from typing import Any

import psutil

from headrace.bench.errors import ClientBoundError, InterruptedRunError, OptionError
from headrace.bench.figures.goodput import GoodputLimits
from headrace.bench.figures.run_figures import figures_of
from headrace.bench.http.server_info import ServerInfo, ask_server
from headrace.bench.load import event_loop
from headrace.bench.load.arrivals import Arrivals, ClosedLoop, RatedArrivals
from headrace.bench.load.client_health import reason_if_client_bound
from headrace.bench.load.load_generator import Progress, run_load
from headrace.bench.memory.memory_watch import MemoryUse, MemoryWatch
from headrace.bench.memory.server_process_tree import ProcessTree, find_server
from headrace.bench.records import (
    LoadResult,
    PlannedRequest,
    RequestRecord,
    Target,
    rounded,
)
from headrace.bench.results.result_file import RunResult, shown_base_url

CountTokens = Callable[[Sequence[RequestRecord]], None]
"""Fills ``num_counted_tokens`` of records that have a text."""


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """What is sent, and how."""

    workload: Sequence[PlannedRequest]
    arrivals: Arrivals
    endpoint: str = "completions"
    is_streamed: bool = True
    num_warm_ups: int = 0
    timeout_s: float = 600.0
    extra_body: Mapping[str, object] = field(default_factory=dict)
    setting: Mapping[str, Any] = field(default_factory=dict)
    """More for RunResult.setting: the workload's name, the round ..."""

    def __post_init__(self) -> None:
        if self.num_warm_ups < 0:
            raise OptionError(f"--num-warm-ups must not be negative, got {self.num_warm_ups}.")
        if not self.timeout_s > 0:
            raise OptionError(f"--timeout-s must be above 0, got {self.timeout_s:g}.")


@dataclass(frozen=True, kw_only=True)
class Looking:
    """What is looked at meanwhile, and kept of it."""

    limits: GoodputLimits | None = None
    count_tokens: CountTokens | None = None
    allow_client_bound: bool = False
    watches_memory: bool = True
    server_pid: int | None = None
    """Whose process tree to watch; by default, of what listens on the target's port."""
    keeps_records: bool = False
    """In the RunResult."""
    keeps_text: bool = False
    """In those records."""


@dataclass(frozen=True)
class Measured:
    """A run's result for the file, and all its records whether or not they go there."""

    run: RunResult
    records: list[RequestRecord]


def measure(
    target: Target,
    plan: RunPlan,
    looking: Looking,
    on_progress: Callable[[Progress], None] | None = None,
    server: ServerInfo | None = None,
) -> Measured:
    """Run the plan against the target. Raises ClientBoundError, ServerError and OptionError, and
    InterruptedRunError with what had been measured when Ctrl-C came.

    server: what the target tells of itself, where it was asked before.
    """
    server = server or ask_server(target)
    tree = _process_tree(target, looking)
    interrupted: list[LoadResult] = []
    with ExitStack() as stack:
        watch = None if tree is None else stack.enter_context(MemoryWatch(tree))
        sending = run_load(
            target,
            plan.workload,
            plan.arrivals,
            is_streamed=plan.is_streamed,
            endpoint=plan.endpoint,
            num_warm_ups=plan.num_warm_ups,
            timeout_s=plan.timeout_s,
            on_progress=on_progress,
            keep_text=looking.keeps_text or looking.count_tokens is not None,
            extra_body=plan.extra_body,
            on_cancelled=interrupted.append,
        )
        try:
            loaded = event_loop.run(sending)
        except KeyboardInterrupt:
            if not interrupted:
                raise InterruptedRunError("Interrupted before a request had ended.") from None
            loaded = interrupted[0]
        began_at = time.perf_counter() - max(record.ended_s for record in loaded.records)
    reason = reason_if_client_bound(loaded.client)
    if reason is not None and not looking.allow_client_bound:
        raise ClientBoundError(
            f"{reason} Nothing is reported; --allow-client-bound reports it all the same, marked."
        )
    if looking.count_tokens is not None:
        looking.count_tokens(loaded.records)
    memory = None if watch is None else watch.use(began_at)
    run = _run_result(loaded, plan, looking, server, reason, memory)
    if not interrupted:
        return Measured(run, loaded.records)
    raise InterruptedRunError(
        f"Interrupted after {len(loaded.records)} of {len(plan.workload)} requests.",
        Measured(replace(run, is_interrupted=True), loaded.records),
    )


def describe_arrivals(arrivals: Arrivals) -> dict[str, Any]:
    """For a file: JSON has no infinity, so it is written as "inf"."""
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


def _process_tree(target: Target, looking: Looking) -> ProcessTree | None:
    if not looking.watches_memory:
        return None
    if looking.server_pid is not None:
        if not psutil.pid_exists(looking.server_pid):
            raise OptionError(f"--pid {looking.server_pid}: there is no such process here.")
        return ProcessTree([looking.server_pid])
    return find_server(target.base_url)


def _run_result(
    loaded: LoadResult,
    plan: RunPlan,
    looking: Looking,
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
        figures=figures_of(loaded.records, loaded.duration_s, looking.limits),
        client=loaded.client,
        client_bound=reason,
        memory=memory,
        records=_for_file(loaded.records, looking.keeps_text) if looking.keeps_records else None,
    )


def _for_file(records: Sequence[RequestRecord], keeps_text: bool) -> list[RequestRecord]:
    """Without texts that nobody asked for."""
    return [replace(rounded(record), text=record.text if keeps_text else "") for record in records]
