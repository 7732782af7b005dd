"""``headrace bench experiment``: one task against one server, to CSV and JSON.

Parses, calls bench.experiment and says what was written.
"""

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
from headrace.cli.bench.options import ResultConfig, ServerConfig, parse_extra_body, typed_command
from headrace.cli.bench.output import save, show_on_stdout
from headrace.cli.options import build, with_options_of
from headrace.engine.config import option

if TYPE_CHECKING:  # what runs is imported once the command runs, so that --help is fast
    from headrace.bench.experiment import ExperimentOutcome, ExperimentPlan
    from headrace.bench.http.server_info import ServerInfo
    from headrace.bench.records import BenchTarget
    from headrace.bench.results.experiment_files import Series
    from headrace.bench.results.result_file import BenchResult


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """Which task is measured, and how."""

    task: Literal["chat", "summarization", "qa", "code"] = option("chat", "What is asked for.")
    mode: Literal["sync", "stream"] = option(
        "stream", "Whole answers at once, or token by token; only stream has a P2FT."
    )
    repeat: int = option(10, "Rounds: how often all prompts are sent.")
    prompts: Path | None = option(
        None,
        "File of prompts, such as 'headrace bench prepare' makes; by default, twenty that come "
        "with Headrace.",
    )
    num_prompts: int | None = option(None, "Use only the first ones.")
    max_tokens: int | None = option(
        None, "Longest answer, in tokens; by default, what the file of prompts says."
    )
    ignore_eos: bool = option(False, "Let every answer run to its longest, so that all are alike.")
    temperature: float = option(0.0, "0 takes the likeliest token, the same at each repeat.")
    parallel: int | None = option(
        None,
        "Requests at once in a throughput series, which comes after the latency series; with "
        "--throughput-only, 8 if not given.",
    )
    throughput_only: bool = option(False, "Leave out the latency series.")
    cache_salt: bool = option(
        True,
        "Give each round a salt of its own, so that no round is answered from prefixes that the "
        "server kept of the round before.",
    )
    server_name: str | None = option(
        None, "What files and pictures call the server; by default, what it calls itself."
    )
    output_dir: Path = option(Path("results"), "Folder for CSV and JSON.")


@bench_command()
@with_options_of(
    ServerConfig,
    ExperimentConfig,
    ResultConfig,
    leave_out=("endpoint", "stream", "save_records", "save_text", "goodput"),
)
def experiment(
    endpoint: Annotated[
        Literal["auto", "chat", "completions"],
        typer.Option(help="Which of the API's two; auto: chat, but completions for code."),
    ] = "auto",
    **values: Any,
) -> None:
    """Measure one task: latency and P2FT one at a time, throughput several at once."""
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
        """So that not even a kill loses the rounds before it."""
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
    """The target and what it says of itself, from which its name is taken if none is given."""
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
    from headrace.bench.workloads.prompts import ENDPOINT_OF_TASK, builtin_prompts

    if endpoint == "auto":
        endpoint = ENDPOINT_OF_TASK[config.task]
    with builtin_prompts(config.task) as builtin:
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
    """Exits with the reason where not all was measured, or not all could be written."""
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
    from headrace.bench.results.experiment_table import experiment_table

    summaries = [summarize(each.runs) for each in series]
    first = summaries[0]
    print(f"{first.server} serves {first.model}; {first.task}, {first.mode}:")
    show_on_stdout(experiment_table(summaries))
    print(f"All series of the folder are in {output_dir / SUMMARY_NAME}.")
    print(f"For pictures: headrace bench report {output_dir} -o report.html")
    flush_stdout()


def _fail_if_requests_failed(series: "Sequence[Series]") -> None:
    from headrace.bench.errors import ServerError

    runs = [run for each in series for run in each.runs]
    num_failed = sum(run.figures.num_failed for run in runs)
    if num_failed == sum(run.figures.num_requests for run in runs):
        records = [record for run in runs for record in run.records or []]
        error = next((record.error for record in records if record.error), "unknown")
        raise ServerError(f"No request was answered. The first error: {error}")
    if num_failed:
        print_stderr(
            f"Warning: {num_failed} requests failed; the CSV says why, and the figures are of the "
            "others."
        )
