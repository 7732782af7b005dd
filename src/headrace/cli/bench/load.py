"""``headrace bench load``: the same prompt again and again, told as ``hey`` tells it."""

from dataclasses import replace
from typing import Annotated, Any

import typer
from rich.text import Text

from headrace.cli.bench.command import bench_command
from headrace.cli.bench.options import (
    ArrivalConfig,
    OutputConfig,
    ResultConfig,
    ServerConfig,
    choose_arrivals,
    make_measurement_options,
    make_plan,
)
from headrace.cli.bench.single_run import measure_once
from headrace.cli.options import build, with_options_of


@bench_command()
@with_options_of(
    ServerConfig, ArrivalConfig, ResultConfig, OutputConfig, leave_out=("concurrency",)
)
def load(
    prompt: Annotated[
        str, typer.Option("--prompt", "-p", help="What every request asks.")
    ] = "Singapore is a",
    num_requests: Annotated[
        int, typer.Option("--num-requests", "--num-prompts", "-n", help="How many.")
    ] = 50,
    concurrency: Annotated[
        int, typer.Option("--concurrency", "-c", help="Requests under way at a time.")
    ] = 5,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", help="Tokens of each answer, at most.")
    ] = 64,
    ignore_eos: Annotated[bool, typer.Option(help="Let every answer run to --max-tokens.")] = False,
    **values: Any,
) -> None:
    """Send one prompt many times; print a histogram, percentiles and status codes."""
    from headrace.bench.results.load_report import load_report
    from headrace.bench.workloads.options import WorkloadOptions

    server = build(ServerConfig, values)
    options = WorkloadOptions(
        dataset="prompts",
        prompt=prompt,
        num_prompts=num_requests,
        endpoint=server.endpoint,
        output_len=max_tokens,
        ignore_eos=ignore_eos,
    )
    arrival = build(ArrivalConfig, values, concurrency=concurrency)
    plan = make_plan(server, options, choose_arrivals(arrival, "prompts", 0))
    measure_once(
        "load",
        server,
        replace(plan, num_warm_ups=min(plan.num_warm_ups, num_requests)),
        make_measurement_options(build(ResultConfig, values), None),
        build(OutputConfig, values),
        None,
        lambda measured: [Text(load_report(measured.run.figures, measured.records))],
    )
