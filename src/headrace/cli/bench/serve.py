"""``headrace bench serve``: one workload against one server, as ``vllm bench serve`` does."""

from typing import Any

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
    workload_options,
)
from headrace.cli.bench.single_run import measure_once
from headrace.cli.options import build, with_options_of


@bench_command()
@with_options_of(ServerConfig, WorkloadConfig, ArrivalConfig, ResultConfig, OutputConfig)
def serve(**values: Any) -> None:
    """Send a workload to a server and measure what comes."""
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
