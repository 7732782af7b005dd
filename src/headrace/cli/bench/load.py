"""``headrace bench load``: one prompt many times, reported as ``hey`` reports it."""

from dataclasses import replace
from typing import Annotated, Any

import typer
from rich.text import Text

from headrace.cli.bench.command import bench_command
from headrace.cli.bench.options import (
    MAX_CONCURRENCY,
    MAX_REQUESTS,
    MAX_TOKENS,
    ArrivalConfig,
    OutputConfig,
    ResultConfig,
    ServerConfig,
    choose_arrivals,
    make_measurement_options,
    make_plan,
)
from headrace.cli.bench.serve import measure_once
from headrace.cli.options import build, with_options_of
from headrace.core.options import Bounds


@bench_command
@with_options_of(
    ServerConfig, ArrivalConfig, ResultConfig, OutputConfig, leave_out=("concurrency",)
)
def load(
    prompt: Annotated[
        str, typer.Option("--prompt", "-p", help="Prompt of every request.")
    ] = "Singapore is a",
    num_requests: Annotated[
        int,
        typer.Option("--num-requests", "--num-prompts", "-n", help="Number of requests."),
        Bounds(ge=1, le=MAX_REQUESTS),
    ] = 50,
    concurrency: Annotated[
        int,
        typer.Option("--concurrency", "-c", help="Maximum number of requests in flight."),
        Bounds(ge=1, le=MAX_CONCURRENCY),
    ] = 5,
    max_tokens: Annotated[
        int,
        typer.Option("--max-tokens", help="Maximum output tokens per request."),
        Bounds(ge=1, le=MAX_TOKENS),
    ] = 64,
    ignore_eos: Annotated[
        bool, typer.Option(help="Generate --max-tokens tokens for every request.")
    ] = False,
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
