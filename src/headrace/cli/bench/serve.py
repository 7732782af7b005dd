"""``headrace bench serve``: one workload against one server, as ``vllm bench serve`` does."""

from typing import Any

from headrace.cli.bench.options import (
    ArrivalConfig,
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
    typed_command,
    workload_options,
)
from headrace.cli.bench.publishing import Outputs, fail_if_nothing_was_answered, publish
from headrace.cli.bench.running import reporting
from headrace.cli.options import build, with_options_of


@with_options_of(ServerConfig, WorkloadConfig, ArrivalConfig, ResultConfig)
def serve(
    concurrency: ConcurrencyOption = None,
    ignore_eos: IgnoreEosOption = None,
    goodput: GoodputOption = None,
    output: OutputOption = None,
    csv: CsvOption = None,
    as_json: JsonOption = False,
    **values: Any,
) -> None:
    """Send a workload to a server and measure what comes."""
    server, workload = build(ServerConfig, values), build(WorkloadConfig, values)
    arrival, result = build(ArrivalConfig, values), build(ResultConfig, values)
    with reporting():
        from headrace.bench.http.server_info import find_target
        from headrace.bench.load.live_progress import LiveProgress
        from headrace.bench.measurement import measure
        from headrace.bench.results.result_file import new_result
        from headrace.bench.results.tables import run_tables

        arrivals = choose_arrivals(arrival, concurrency, workload.dataset, workload.seed)
        looking = make_looking(result, goodput, workload.tokenizer)
        options = workload_options(workload, server.endpoint, ignore_eos)
        plan = make_plan(server, options, arrivals)
        target = find_target(server.base_url, server.model, server.api_key)
        with LiveProgress() as progress:
            progress.begin("Measuring")
            measured = measure(target, plan, looking, progress)
        publish(
            new_result("serve", typed_command(), workload.seed, runs=[measured.run]),
            [measured],
            Outputs(output, csv, as_json),
            run_tables(measured.run),
        )
        fail_if_nothing_was_answered([measured])
