"""``headrace bench load``: the same prompt again and again, told as ``hey`` tells it."""

from dataclasses import replace
from typing import Annotated, Any

import typer
from rich.text import Text

from headrace.cli.bench.options import (
    ArrivalConfig,
    CsvOption,
    GoodputOption,
    IgnoreEosOption,
    JsonOption,
    OutputOption,
    ResultConfig,
    ServerConfig,
    choose_arrivals,
    make_looking,
    make_plan,
    typed_command,
)
from headrace.cli.bench.publishing import Outputs, fail_if_nothing_was_answered, publish
from headrace.cli.bench.running import reporting
from headrace.cli.options import build, with_options_of


@with_options_of(ServerConfig, ArrivalConfig, ResultConfig)
def load(
    prompt: Annotated[
        str, typer.Option("--prompt", "-p", help="What every request asks.")
    ] = "Singapore is a",
    num_requests: Annotated[
        int, typer.Option("--num-requests", "--num-prompts", "-n", min=1, help="How many.")
    ] = 50,
    concurrency: Annotated[
        int, typer.Option("--concurrency", "-c", min=1, help="Requests under way at a time.")
    ] = 5,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=1, help="Tokens of each answer, at most.")
    ] = 64,
    ignore_eos: IgnoreEosOption = None,
    goodput: GoodputOption = None,
    output: OutputOption = None,
    csv: CsvOption = None,
    as_json: JsonOption = False,
    **values: Any,
) -> None:
    """Send one prompt many times; print a histogram, percentiles and status codes."""
    server, result = build(ServerConfig, values), build(ResultConfig, values)
    with reporting():
        from headrace.bench.http.server_info import find_target
        from headrace.bench.load.live_progress import LiveProgress
        from headrace.bench.measurement import measure
        from headrace.bench.results.load_report import load_report
        from headrace.bench.results.result_file import new_result
        from headrace.bench.workloads.options import WorkloadOptions

        options = WorkloadOptions(
            dataset="prompts",
            prompt=prompt,
            num_prompts=num_requests,
            endpoint=server.endpoint,
            output_len=max_tokens,
            ignore_eos=ignore_eos,
        )
        arrivals = choose_arrivals(build(ArrivalConfig, values), concurrency, "prompts", 0)
        plan = make_plan(server, options, arrivals)
        plan = replace(plan, num_warm_ups=min(plan.num_warm_ups, num_requests))
        looking = make_looking(result, goodput, None)
        target = find_target(server.base_url, server.model, server.api_key)
        with LiveProgress() as progress:
            progress.begin("Measuring")
            measured = measure(target, plan, looking, progress)
        publish(
            new_result("load", typed_command(), None, runs=[measured.run]),
            [measured],
            Outputs(output, csv, as_json),
            [Text(load_report(measured.run.figures, measured.records))],
        )
        fail_if_nothing_was_answered([measured])
