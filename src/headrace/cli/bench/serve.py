"""``headrace bench serve``: one workload against one server, as ``vllm bench serve`` does."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from headrace.cli.bench.command import bench_command
from headrace.cli.bench.options import (
    ArrivalConfig,
    OutputConfig,
    ResultConfig,
    ServerConfig,
    WorkloadConfig,
    choose_arrivals,
    make_measurement_options,
    make_plan,
    typed_command,
    workload_options,
)
from headrace.cli.bench.output import check_outputs, fail_if_nothing_was_answered, publish
from headrace.cli.options import build, with_options_of

if TYPE_CHECKING:
    from headrace.bench.measurement import MeasurementOptions, RunPlan
    from headrace.bench.results.measured_run import MeasuredRun
    from headrace.cli.bench.output import Shown


@bench_command
@with_options_of(ServerConfig, WorkloadConfig, ArrivalConfig, ResultConfig, OutputConfig)
def serve(**values: Any) -> None:
    """Send a workload to a server and report latency, throughput and goodput."""
    from headrace.bench.results.tables import run_tables

    server, workload = build(ServerConfig, values), build(WorkloadConfig, values)
    arrival = build(ArrivalConfig, values)
    arrivals = choose_arrivals(arrival, workload.dataset, workload.seed)
    measurement_options = make_measurement_options(build(ResultConfig, values), workload.tokenizer)
    plan = make_plan(server, workload_options(workload, server.endpoint), arrivals)
    measure_once(
        "serve",
        server,
        plan,
        measurement_options,
        build(OutputConfig, values),
        workload.seed,
        lambda measured: run_tables(measured.run),
    )


def measure_once(
    kind: str,
    server: ServerConfig,
    plan: "RunPlan",
    measurement_options: "MeasurementOptions",
    outputs: OutputConfig,
    seed: int | None,
    show: Callable[["MeasuredRun"], "Sequence[Shown]"],
) -> None:
    """One run against one server, for ``serve`` and ``load``.

    show: makes what is printed. A run that ended early is reported too.
    """
    from headrace.bench.http.server_info import find_target
    from headrace.bench.load.live_progress import LiveProgress
    from headrace.bench.measurement import measure
    from headrace.bench.results.measured_run import EndedEarlyError
    from headrace.bench.results.result_file import new_result

    check_outputs(outputs)
    result = new_result(kind, typed_command(server.api_key), seed)
    target = find_target(
        server.base_url, server.model, server.api_key, ca_certs=server.ssl_ca_certs
    )
    ended_by: EndedEarlyError | None = None
    with LiveProgress() as progress:
        progress.begin("Measuring")
        try:
            measured = measure(target, plan, measurement_options, progress)
        except EndedEarlyError as error:
            if error.measured is None:
                raise
            measured, ended_by = error.measured, error
    result = result.finished(runs=[measured.run])
    publish(result, [measured], outputs, lambda: show(measured), ended_by)
    fail_if_nothing_was_answered([measured])
