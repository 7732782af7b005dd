"""``headrace bench compare``: servers in turns on the same prompts, and their ratios."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.bench.options import (
    ArrivalConfig,
    CacheSaltOption,
    OutputConfig,
    ResultConfig,
    ServerConfig,
    WorkloadConfig,
    choose_arrivals,
    make_looking,
    make_plan,
    new_salt,
    typed_command,
    workload_options,
)
from headrace.cli.bench.publishing import check_outputs, publish
from headrace.cli.bench.running import exit_if_ended_early, reporting
from headrace.cli.options import build, with_options_of

if TYPE_CHECKING:
    from headrace.bench.measurement import Measured
    from headrace.bench.records import Target


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
            help="A server and what to call it; give two or more, the first is compared with.",
            show_default=False,
        ),
    ],
    rounds: Annotated[int, typer.Option(min=1, help="How often each one has its turn.")] = 6,
    cache_salt: CacheSaltOption = False,
    **values: Any,
) -> None:
    """Measure servers against each other, round after round, in an order that rotates."""
    server, workload = build(ServerConfig, values), build(WorkloadConfig, values)
    arrival, outputs = build(ArrivalConfig, values), build(OutputConfig, values)
    with reporting():
        from headrace.bench.compare import parse_targets, run_comparison
        from headrace.bench.http.server_info import ask_server
        from headrace.bench.load.live_progress import LiveProgress
        from headrace.bench.measurement import measure
        from headrace.bench.results.result_file import new_result
        from headrace.bench.results.tables import comparison_table

        check_outputs(outputs)
        options = workload_options(workload, server.endpoint)
        looking = make_looking(build(ResultConfig, values), workload.tokenizer)
        targets = parse_targets(target, server.model, server.api_key, server.ssl_ca_certs)
        infos = {each.name: ask_server(each) for each in targets}
        salt = new_salt()

        with LiveProgress() as progress:

            def measure_target(index: int, one: "Target") -> "Measured":
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
                return measure(one, plan, looking, progress, infos[one.name])

            outcome = run_comparison(targets, rounds, measure_target, workload.seed)
        runs = [each.run for each in outcome.measured]
        publish(
            new_result(
                "compare", typed_command(), workload.seed, runs=runs, comparison=outcome.ratios
            ),
            outcome.measured,
            outputs,
            [comparison_table(outcome.ratios)],
        )
        exit_if_ended_early(outcome.ended_by)
