"""``headrace bench compare``: several servers in interleaved rounds, and their ratios."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.bench.command import bench_command
from headrace.cli.bench.options import (
    MAX_REPEATS,
    ArrivalConfig,
    CacheSaltOption,
    OutputConfig,
    ResultConfig,
    ServerConfig,
    WorkloadConfig,
    choose_arrivals,
    make_measurement_options,
    make_plan,
    new_salt,
    parse_extra_body,
    typed_command,
    workload_options,
)
from headrace.cli.bench.output import check_outputs, publish, save_so_far
from headrace.cli.options import build, with_options_of
from headrace.core.options import Bounds

if TYPE_CHECKING:
    from headrace.bench.records import BenchTarget
    from headrace.bench.results.measured_run import MeasuredRun
    from headrace.bench.results.result_file import RunResult


@bench_command
@with_options_of(
    ServerConfig,
    WorkloadConfig,
    ArrivalConfig,
    ResultConfig,
    OutputConfig,
    leave_out=("base_url", "pid"),
)
def compare(
    target: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=URL[#MODEL]",
            help="Name and URL of a server; give two or more, the first is the baseline.",
            show_default=False,
        ),
    ],
    rounds: Annotated[
        int, typer.Option(help="Number of runs per server."), Bounds(ge=1, le=MAX_REPEATS)
    ] = 6,
    cache_salt: CacheSaltOption = False,
    **values: Any,
) -> None:
    """Compare servers on the same prompts, in interleaved rounds."""
    from headrace.bench.compare import parse_targets, run_comparison
    from headrace.bench.http.server_info import ask_server
    from headrace.bench.load.live_progress import LiveProgress
    from headrace.bench.measurement import measure
    from headrace.bench.results.result_file import new_result
    from headrace.bench.results.tables import comparison_table

    server, workload = build(ServerConfig, values), build(WorkloadConfig, values)
    arrival, outputs = build(ArrivalConfig, values), build(OutputConfig, values)
    check_outputs(outputs)
    parse_extra_body(server.extra_body)  # fails early
    options = workload_options(workload, server.endpoint)
    measurement_options = make_measurement_options(build(ResultConfig, values), workload.tokenizer)
    result = new_result("compare", typed_command(server.api_key), workload.seed)
    targets = parse_targets(target, server.model, server.api_key, server.ssl_ca_certs)
    infos = {each.name: ask_server(each) for each in targets}
    salt = new_salt()
    runs: list[RunResult] = []

    with LiveProgress() as progress:

        def measure_target(index: int, one: "BenchTarget") -> "MeasuredRun":
            progress.begin(f"round {index + 1} of {rounds}, {one.name}")
            seed = workload.seed + index
            arrivals = choose_arrivals(arrival, workload.dataset, seed)
            plan = make_plan(
                server,
                options,
                arrivals,
                draw=index,
                salt=f"{salt}-{index}-{one.name}" if cache_salt else None,
                round=index,
            )
            measured = measure(one, plan, measurement_options, progress, infos[one.name])
            runs.append(measured.run)
            save_so_far(result.finished(runs=runs), outputs)
            return measured

        outcome = run_comparison(targets, rounds, measure_target, workload.seed)
    publish(
        result.finished(runs=[each.run for each in outcome.measured], comparison=outcome.ratios),
        outcome.measured,
        outputs,
        lambda: [comparison_table(outcome.ratios)] if outcome.ratios else [],
        outcome.ended_by,
    )
