"""``headrace bench compare``: servers in turns on the same prompts, and their ratios."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.bench.options import (
    ArrivalConfig,
    CacheSaltOption,
    ConcurrencyOption,
    CsvOption,
    GoodputOption,
    IgnoreEosOption,
    JsonOption,
    OutputOption,
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
from headrace.cli.bench.publishing import Outputs, publish
from headrace.cli.bench.running import reporting
from headrace.cli.options import build, with_options_of

if TYPE_CHECKING:
    from headrace.bench.measurement import Measured
    from headrace.bench.records import Target


@with_options_of(
    ServerConfig, WorkloadConfig, ArrivalConfig, ResultConfig, leave_out=("base_url", "pid")
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
    concurrency: ConcurrencyOption = None,
    cache_salt: CacheSaltOption = False,
    ignore_eos: IgnoreEosOption = None,
    goodput: GoodputOption = None,
    output: OutputOption = None,
    csv: CsvOption = None,
    as_json: JsonOption = False,
    **values: Any,
) -> None:
    """Measure servers against each other, round after round, in an order that rotates."""
    server, workload = build(ServerConfig, values), build(WorkloadConfig, values)
    arrival, result = build(ArrivalConfig, values), build(ResultConfig, values)
    with reporting():
        from headrace.bench.compare import parse_targets, run_comparison
        from headrace.bench.http.server_info import ask_server
        from headrace.bench.load.live_progress import LiveProgress
        from headrace.bench.measurement import measure
        from headrace.bench.results.result_file import new_result
        from headrace.bench.results.tables import comparison_table

        options = workload_options(workload, server.endpoint, ignore_eos)
        looking = make_looking(result, goodput, workload.tokenizer)
        targets = parse_targets(target, server.model, server.api_key)
        infos = {each.name: ask_server(each) for each in targets}
        salt = new_salt()

        with LiveProgress() as progress:

            def measure_target(index: int, one: "Target") -> "Measured":
                progress.begin(f"round {index + 1} of {rounds}, {one.name}")
                seed = workload.seed + index
                arrivals = choose_arrivals(arrival, concurrency, workload.dataset, seed)
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
            Outputs(output, csv, as_json),
            [comparison_table(outcome.ratios)],
        )
