"""``headrace bench sweep``: one run per load, and the knee of the throughput curve."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.bench.command import bench_command, print_stderr
from headrace.cli.bench.options import (
    MAX_CONCURRENCY,
    MAX_REQUEST_RATE,
    MIN_REQUEST_RATE,
    ArrivalConfig,
    CacheSaltOption,
    OutputConfig,
    ResultConfig,
    ServerConfig,
    WorkloadConfig,
    make_measurement_options,
    make_plan,
    new_salt,
    parse_extra_body,
    parse_numbers,
    typed_command,
    workload_options,
)
from headrace.cli.bench.output import (
    check_outputs,
    fail_if_nothing_was_answered,
    publish,
    save_so_far,
)
from headrace.cli.options import build, with_options_of
from headrace.core.options import Bounds

if TYPE_CHECKING:
    from headrace.bench.figures.sweep_curve import Axis
    from headrace.bench.load.arrivals import Arrivals
    from headrace.bench.results.measured_run import MeasuredRun
    from headrace.bench.results.result_file import RunResult
    from headrace.bench.sweep import SweepOutcome

_RANGES = {
    "concurrency": Bounds(ge=1, le=MAX_CONCURRENCY),
    "request_rate": Bounds(ge=MIN_REQUEST_RATE, le=MAX_REQUEST_RATE),
}


@bench_command
@with_options_of(
    ServerConfig,
    WorkloadConfig,
    ArrivalConfig,
    ResultConfig,
    OutputConfig,
    leave_out=("request_rate", "concurrency"),
)
def sweep(
    request_rates: Annotated[
        str | None,
        typer.Option(metavar="R,R,...", help="Request rates, one run each.", show_default=False),
    ] = None,
    concurrency: Annotated[
        str | None,
        typer.Option(
            "--concurrency",
            "--max-concurrency",
            "-c",
            metavar="N,N,...",
            help="Concurrencies, one run each.",
            show_default=False,
        ),
    ] = None,
    stop_when_saturated: Annotated[
        bool,
        typer.Option(
            "--stop-when-saturated", help="Skip the higher loads once throughput stops growing."
        ),
    ] = False,
    cache_salt: CacheSaltOption = False,
    **values: Any,
) -> None:
    """Measure a server under increasing load, up to saturation."""
    from headrace.bench.errors import OptionError
    from headrace.bench.http.server_info import ask_server, find_target
    from headrace.bench.load.live_progress import LiveProgress
    from headrace.bench.measurement import measure
    from headrace.bench.results.result_file import new_result
    from headrace.bench.results.tables import sweep_table
    from headrace.bench.sweep import check_loads, run_sweep

    server, workload = build(ServerConfig, values), build(WorkloadConfig, values)
    arrival, outputs = build(ArrivalConfig, values), build(OutputConfig, values)
    if (request_rates is None) == (concurrency is None):
        raise OptionError("Give either --request-rates 1,2,4,8 or --concurrency 1,2,4,8,16.")
    axis: Axis = "concurrency" if request_rates is None else "request_rate"
    flag = "--concurrency" if request_rates is None else "--request-rates"
    allowed = _RANGES[axis]
    loads = check_loads(parse_numbers(flag, request_rates or concurrency or "", allowed))
    if axis == "concurrency" and not all(load.is_integer() for load in loads):
        raise OptionError(f"{flag} {concurrency}: give integers.")
    check_outputs(outputs)
    parse_extra_body(server.extra_body)  # fails early
    options = workload_options(workload, server.endpoint)
    measurement_options = make_measurement_options(build(ResultConfig, values), workload.tokenizer)
    result = new_result("sweep", typed_command(server.api_key), workload.seed)
    target = find_target(
        server.base_url, server.model, server.api_key, ca_certs=server.ssl_ca_certs
    )
    info = ask_server(target)
    salt = new_salt()
    runs: list[RunResult] = []

    with LiveProgress() as progress:

        def measure_load(index: int, load: float) -> "MeasuredRun":
            progress.begin(f"{axis.replace('_', ' ')} {load:g}")
            arrivals = _arrivals(axis, load, arrival, workload.seed + index)
            plan = make_plan(
                server,
                options,
                arrivals,
                draw=index,
                salt=f"{salt}-{index}" if cache_salt else None,
                load=load,
            )
            measured = measure(target, plan, measurement_options, progress, info)
            runs.append(measured.run)
            save_so_far(result.finished(runs=runs), outputs)
            return measured

        outcome = run_sweep(axis, loads, measure_load, stops_when_saturated=stop_when_saturated)
    _print_end(outcome)
    publish(
        result.finished(runs=[each.run for each in outcome.measured], sweep=outcome.curve),
        outcome.measured,
        outputs,
        lambda: [sweep_table(outcome.curve, runs)],
        outcome.ended_by,
    )
    fail_if_nothing_was_answered(outcome.measured)


def _arrivals(axis: "Axis", load: float, arrival: ArrivalConfig, seed: int) -> "Arrivals":
    from headrace.bench.load.arrivals import ClosedLoop, RatedArrivals

    if axis == "request_rate":
        return RatedArrivals(load, arrival.burstiness, seed=seed)
    return ClosedLoop(int(load))


def _print_end(outcome: "SweepOutcome") -> None:
    if outcome.curve.knee is not None:
        print_stderr(f"The knee is at {outcome.curve.knee:g}.")
    elif not outcome.curve.is_saturated and outcome.ended_by is None:
        print_stderr("No knee found: throughput still grows. Try higher loads.")
    if outcome.stopped_because is not None:
        skipped = ", ".join(f"{load:g}" for load in outcome.skipped)
        print_stderr(f"{outcome.stopped_because} Skipped loads: {skipped}.")
