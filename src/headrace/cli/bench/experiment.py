"""``headrace bench experiment``: one task against one server, written as CSV and JSON."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from headrace.bench.errors import attempt
from headrace.cli.bench.command import (
    bench_command,
    finish,
    flush_stdout,
    print_stderr,
    uninterrupted,
)
from headrace.cli.bench.options import (
    MAX_CONCURRENCY,
    MAX_REPEATS,
    MAX_REQUESTS,
    MAX_TOKENS,
    ResultConfig,
    ServerConfig,
    parse_extra_body,
    typed_command,
)
from headrace.cli.bench.output import save, show_on_stdout
from headrace.cli.options import build, with_options_of
from headrace.core.options import option

if TYPE_CHECKING:  # imported once the command runs, so that --help is fast
    from headrace.bench.experiment import ExperimentOutcome, ExperimentPlan
    from headrace.bench.http.server_info import ServerInfo
    from headrace.bench.records import BenchTarget
    from headrace.bench.results.experiment_files import Series
    from headrace.bench.results.result_file import BenchResult


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """The task, and how it is measured."""

    task: Literal["chat", "summarization", "qa", "code"] = option("chat", "Task to measure.")
    mode: Literal["sync", "stream"] = option(
        "stream", "Whole responses or streamed ones; P2FT needs stream."
    )
    repeat: int = option(10, "Number of rounds; each sends all prompts once.", ge=1, le=MAX_REPEATS)
    prompts: Path | None = option(
        None,
        "File of prompts, such as 'headrace bench prepare' writes; by default, twenty built-in "
        "prompts.",
    )
    num_prompts: int | None = option(None, "Use only the first N prompts.", ge=1, le=MAX_REQUESTS)
    max_tokens: int | None = option(
        None,
        "Maximum output tokens per request; by default as in the file of prompts.",
        ge=1,
        le=MAX_TOKENS,
    )
    ignore_eos: bool = option(
        False, "Generate max_tokens tokens for every request, so that all outputs are equally long."
    )
    temperature: float = option(
        0.0, "Sampling temperature; 0 is greedy, so that rounds repeat.", ge=0, le=100
    )
    parallel: int | None = option(
        None,
        "Concurrency of a throughput series, which follows the latency series; 8 by default with "
        "--throughput-only.",
        ge=1,
        le=MAX_CONCURRENCY,
    )
    throughput_only: bool = option(False, "Skip the latency series.")
    cache_salt: bool = option(
        True,
        "Send a cache_salt of its own with each round, so that prefixes cached during one round do "
        "not serve the next.",
    )
    server_name: str | None = option(
        None, "Name of the server in files and charts; by default, the name it reports."
    )
    output_dir: Path = option(Path("results"), "Folder for CSV and JSON files.")


@bench_command
@with_options_of(
    ServerConfig,
    ExperimentConfig,
    ResultConfig,
    leave_out=("endpoint", "stream", "save_records", "save_text", "goodput"),
)
def experiment(
    endpoint: Annotated[
        Literal["auto", "chat", "completions"],
        typer.Option(help="API endpoint; auto: chat, and completions for code."),
    ] = "auto",
    **values: Any,
) -> None:
    """Measure one task: latency and P2FT at concurrency 1, throughput at a higher one."""
    from headrace.bench.experiment import run_experiment
    from headrace.bench.load.live_progress import LiveProgress
    from headrace.bench.measurement import MeasurementOptions
    from headrace.bench.results.destination import check_can_hold_files, check_stream
    from headrace.bench.results.experiment_files import KIND, files_of
    from headrace.bench.results.result_file import new_result

    server, config = build(ServerConfig, values), build(ExperimentConfig, values)
    result = build(ResultConfig, values)
    check_can_hold_files(config.output_dir)
    check_stream(sys.stdout, "stdout")
    plan = _plan(server, config, endpoint)
    draft = new_result(KIND, typed_command(server.api_key), None)
    found = _find(server, config.server_name)
    measurement_options = MeasurementOptions(
        allow_client_bound=result.allow_client_bound,
        watches_memory=result.watch_memory,
        server_pid=result.pid,
    )

    def save_round(series: "Series") -> None:
        """So that a killed process loses the round in progress only."""
        attempt(
            partial(_write_result, draft, series, files_of(config.output_dir, series).result), []
        )

    with LiveProgress() as progress:
        outcome = run_experiment(
            found.target,
            plan,
            measurement_options,
            found.server,
            on_begin=progress.begin,
            on_end=save_round,
            on_progress=progress,
        )
    _publish(outcome, draft, config.output_dir)
    _fail_if_requests_failed(outcome.series)


@dataclass(frozen=True)
class _Found:
    target: "BenchTarget"
    server: "ServerInfo"


def _find(server: ServerConfig, name: str | None) -> _Found:
    """The target, named as the server reports if no name is given."""
    from headrace.bench.http.server_info import ask_server, find_target

    target = find_target(
        server.base_url, server.model, server.api_key, ca_certs=server.ssl_ca_certs
    )
    info = ask_server(target)
    own_name = info.card.get("owned_by")
    if name is None and isinstance(own_name, str):
        name = own_name
    return _Found(replace(target, name=name or target.name), info)


def _plan(server: ServerConfig, config: ExperimentConfig, endpoint: str) -> "ExperimentPlan":
    from headrace.bench.experiment import ExperimentPlan, choose_parallels
    from headrace.bench.workloads.factory import load_workload
    from headrace.bench.workloads.options import WorkloadOptions
    from headrace.bench.workloads.prompts import PROMPT_SETS

    prompt_set = PROMPT_SETS[config.task]
    if endpoint == "auto":
        endpoint = prompt_set.endpoint
    with prompt_set.file() as builtin:
        workload = load_workload(
            WorkloadOptions(
                dataset="prompts",
                path=config.prompts or builtin,
                num_prompts=config.num_prompts,
                endpoint=endpoint,
                output_len=config.max_tokens,
                ignore_eos=config.ignore_eos,
            )
        )
    return ExperimentPlan(
        task=config.task,
        mode=config.mode,
        workload=[replace(planned, task=config.task) for planned in workload],
        endpoint=endpoint,
        parallels=choose_parallels(config.parallel, config.throughput_only),
        num_rounds=config.repeat,
        num_warm_ups=server.num_warm_ups,
        timeout_s=server.timeout_s,
        temperature=config.temperature,
        extra_body=parse_extra_body(server.extra_body),
        salts_cache=config.cache_salt,
        setting={
            "prompts": "built in" if config.prompts is None else config.prompts.name,
            "max_tokens": config.max_tokens,
            "ignore_eos": config.ignore_eos,
        },
    )


def _publish(outcome: "ExperimentOutcome", draft: "BenchResult", output_dir: Path) -> None:
    """Exits with an error if the experiment ended early or an output could not be written."""
    from headrace.bench.results.experiment_files import files_of, write_folder_summary

    causes: list[BaseException] = []
    with uninterrupted():
        for each in outcome.series:
            files = files_of(output_dir, each)
            attempt(partial(save, files.result, partial(_write_result, draft, each)), causes)
            attempt(partial(save, files.requests, partial(_write_requests, each)), causes)
        attempt(partial(write_folder_summary, output_dir), causes)
    attempt(partial(_show, outcome.series, output_dir), causes)
    finish(outcome.ended_by, causes)


def _write_result(draft: "BenchResult", series: "Series", path: Path) -> None:
    from headrace.bench.results.result_file import write_result

    write_result(path, draft.finished(runs=series.runs))


def _write_requests(series: "Series", path: Path) -> None:
    from headrace.bench.results.experiment_csv import write_requests

    write_requests(path, series.runs)


def _show(series: "Sequence[Series]", output_dir: Path) -> None:
    from headrace.bench.figures.series_summary import summarize
    from headrace.bench.results.experiment_files import SUMMARY_NAME
    from headrace.bench.results.tables import experiment_table

    summaries = [summarize(each.runs) for each in series]
    first = summaries[0]
    print(f"{first.server}, {first.model}, {first.task}, {first.mode}:")
    show_on_stdout(experiment_table(summaries))
    print(f"Summary of all series in the folder: {output_dir / SUMMARY_NAME}")
    print(f"To draw charts: headrace bench report {output_dir} -o report.html")
    flush_stdout()


def _fail_if_requests_failed(series: "Sequence[Series]") -> None:
    from headrace.bench.errors import ServerError

    runs = [run for each in series for run in each.runs]
    num_failed = sum(run.figures.num_failed for run in runs)
    if num_failed == sum(run.figures.num_requests for run in runs):
        records = [record for run in runs for record in run.records or []]
        error = next((record.error for record in records if record.error), "unknown")
        raise ServerError(f"All requests failed. First error: {error}")
    if num_failed:
        print_stderr(
            f"Warning: {num_failed} requests failed (see the CSV); the figures exclude them."
        )
