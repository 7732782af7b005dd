"""``headrace bench sweep``: one run for each load, and where the server's knee is."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.bench.options import (
    ArrivalConfig,
    CacheSaltOption,
    OutputConfig,
    ResultConfig,
    ServerConfig,
    WorkloadConfig,
    make_looking,
    make_plan,
    new_salt,
    parse_numbers,
    typed_command,
    workload_options,
)
from headrace.cli.bench.publishing import (
    check_outputs,
    fail_if_nothing_was_answered,
    publish,
)
from headrace.cli.bench.running import exit_if_ended_early, reporting
from headrace.cli.options import build, with_options_of

if TYPE_CHECKING:
    from headrace.bench.figures.sweep_curve import Axis
    from headrace.bench.load.arrivals import Arrivals
    from headrace.bench.measurement import Measured
    from headrace.bench.sweep import SweepOutcome


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
        typer.Option(
            metavar="R,R,...", help="Requests a second to offer in turn.", show_default=False
        ),
    ] = None,
    concurrency: Annotated[
        str | None,
        typer.Option(
            "--concurrency",
            "--max-concurrency",
            "-c",
            metavar="N,N,...",
            help="Requests under way at a time, in turn.",
            show_default=False,
        ),
    ] = None,
    stop_when_saturated: Annotated[
        bool,
        typer.Option(
            "--stop-when-saturated", help="Leave out what comes after throughput stops growing."
        ),
    ] = False,
    cache_salt: CacheSaltOption = False,
    **values: Any,
) -> None:
    """Measure a server under rising load, up to saturation."""
    server, workload = build(ServerConfig, values), build(WorkloadConfig, values)
    arrival, outputs = build(ArrivalConfig, values), build(OutputConfig, values)
    with reporting():
        from headrace.bench.errors import OptionError
        from headrace.bench.http.server_info import ask_server, find_target
        from headrace.bench.load.live_progress import LiveProgress
        from headrace.bench.measurement import measure
        from headrace.bench.results.result_file import new_result
        from headrace.bench.results.tables import sweep_table
        from headrace.bench.sweep import run_sweep

        if (request_rates is None) == (concurrency is None):
            raise OptionError("Give either --request-rates 1,2,4,8 or --concurrency 1,2,4,8,16.")
        axis: Axis = "concurrency" if request_rates is None else "request_rate"
        flag = "--concurrency" if request_rates is None else "--request-rates"
        loads = parse_numbers(flag, request_rates or concurrency or "")
        check_outputs(outputs)
        options = workload_options(workload, server.endpoint)
        looking = make_looking(build(ResultConfig, values), workload.tokenizer)
        target = find_target(
            server.base_url, server.model, server.api_key, ca_certs=server.ssl_ca_certs
        )
        info = ask_server(target)
        salt = new_salt()

        with LiveProgress() as progress:

            def measure_load(index: int, load: float) -> "Measured":
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
                return measure(target, plan, looking, progress, info)

            outcome = run_sweep(axis, loads, measure_load, stops_when_saturated=stop_when_saturated)
        runs = [each.run for each in outcome.measured]
        publish(
            new_result("sweep", typed_command(), workload.seed, runs=runs, sweep=outcome.curve),
            outcome.measured,
            outputs,
            [sweep_table(outcome.curve, runs)],
        )
        _tell_end(outcome)
        exit_if_ended_early(outcome.ended_by)
        fail_if_nothing_was_answered(outcome.measured)


def _arrivals(axis: "Axis", load: float, arrival: ArrivalConfig, seed: int) -> "Arrivals":
    from headrace.bench.errors import OptionError
    from headrace.bench.load.arrivals import ClosedLoop, RatedArrivals

    if axis == "request_rate":
        return RatedArrivals(load, arrival.burstiness, seed=seed)
    if not load.is_integer():
        raise OptionError(f"--concurrency: {load:g} is not a whole number.")
    return ClosedLoop(int(load))


def _tell_end(outcome: "SweepOutcome") -> None:
    if outcome.curve.knee is not None:
        print(f"The knee is at {outcome.curve.knee:g}.", file=sys.stderr)
    elif not outcome.curve.is_saturated and outcome.ended_by is None:
        print("The curve is straight still; higher loads would show its knee.", file=sys.stderr)
    if outcome.stopped_because is not None:
        skipped = ", ".join(f"{load:g}" for load in outcome.skipped)
        print(f"{outcome.stopped_because} Not run: {skipped}.", file=sys.stderr)
