"""Options that several bench commands share, and what is made of them."""

import secrets
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
from typer.core import TyperCommand

from headrace.cli.bench.command import check_number
from headrace.core.options import Bounds, option

if TYPE_CHECKING:  # imported once a command runs, so that --help is fast
    from headrace.bench.load.arrivals import Arrivals
    from headrace.bench.measurement import MeasurementOptions, RunPlan
    from headrace.bench.workloads.options import WorkloadOptions

Dataset = Literal[
    "prompts",
    "sharegpt",
    "conversations",
    "humaneval",
    "random",
    "shared-prefix",
    "azure",
    "mooncake",
]
TRACES = ("azure", "mooncake")

MAX_REQUESTS = 10_000_000
MAX_TOKENS = 10_000_000
"""Longer than any context: a greater number is a mistake, and would exhaust the memory."""
MAX_CONCURRENCY = 65_535
"""One connection per request, limited by the ports of a machine."""
MAX_REPEATS = 1_000_000
MAX_SEED = 2**62
MIN_REQUEST_RATE = 0.000_001
MAX_REQUEST_RATE = 1_000_000
_MAX_PID = 2**31 - 1

CacheSaltOption = Annotated[
    bool,
    typer.Option(
        "--cache-salt",
        help="Send a cache_salt of its own with each run, so that prefixes cached during one run "
        "do not serve the next (Headrace, vLLM).",
    ),
]


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """The server, and how requests are sent to it."""

    base_url: str = option("http://127.0.0.1:8000", "Base URL of the server.")
    model: str | None = option(
        None, "Model name in requests; by default the first one of /v1/models."
    )
    api_key: str | None = option(None, "API key, sent as bearer token.", env="OPENAI_API_KEY")
    ssl_ca_certs: Path | None = option(
        None,
        "PEM file of CA certificates to trust in addition to the system's, for https with a "
        "private CA. SSL_CERT_FILE replaces the system's.",
    )
    endpoint: Literal["completions", "chat"] = option("completions", "API endpoint.")
    stream: bool = option(True, "Request streamed responses.")
    timeout_s: float = option(600.0, "Timeout per request, in seconds.", ge=0.001, le=1_000_000)
    num_warm_ups: int = option(4, "Unmeasured requests before the run.", ge=0, le=1_000_000)
    extra_body: str | None = option(
        None,
        "JSON object of additional fields for every request, such as '{\"temperature\": 0}'.",
    )


@dataclass(frozen=True, kw_only=True)
class WorkloadConfig:
    """The requests."""

    dataset: Dataset = option("random", "Source of the prompts.")
    dataset_path: Path | None = option(None, "File of the data set.")
    num_prompts: int | None = option(
        None,
        "Number of prompts; by default the whole file, or 100 random ones.",
        ge=1,
        le=MAX_REQUESTS,
    )
    input_len: int = option(128, "Tokens per random prompt.", ge=1, le=MAX_TOKENS)
    output_len: int | None = option(
        None,
        "Output tokens per request (max_tokens); by default as in the data set.",
        ge=1,
        le=MAX_TOKENS,
    )
    range_ratio: float = option(
        0.0, "Relative spread of random lengths, in [0, 1).", ge=0, le=0.999
    )
    prefix_len: int | None = option(
        None,
        "Length of the prefix that random prompts share; by default 0, and 1,024 for "
        "shared-prefix.",
        ge=0,
        le=MAX_TOKENS,
    )
    num_prefixes: int = option(1, "Number of distinct shared prefixes.", ge=1, le=1_000_000)
    time_scale: float = option(
        1.0,
        "Factor for a trace's arrival times; 0.5 replays it twice as fast.",
        ge=0,
        le=1_000_000,
    )
    max_input_len: int | None = option(
        None,
        "Maximum prompt length; longer prompts are skipped (traces: truncated).",
        ge=1,
        le=MAX_TOKENS,
    )
    max_output_len: int | None = option(None, "Upper limit for max_tokens.", ge=1, le=MAX_TOKENS)
    prompt_form: Literal["auto", "text", "ids"] = option(
        "auto", "Random prompts as text or token ids; auto: ids for completions."
    )
    vocab_size: int = option(32_000, "Random token ids are below this number.", ge=1, le=2**31 - 1)
    tokenizer: Path | None = option(
        None,
        "tokenizer.json or its folder: output tokens are counted with it too, and random texts "
        "have exact lengths.",
    )
    ignore_eos: bool | None = option(
        None,
        "Ignore the end token, so that outputs have their full length; by default for random "
        "prompts and traces.",
        flags=("--ignore-eos/--no-ignore-eos",),
    )
    seed: int = option(0, "Random seed of prompts and arrivals.", ge=0, le=MAX_SEED)


@dataclass(frozen=True, kw_only=True)
class ArrivalConfig:
    """When requests are sent."""

    concurrency: int | None = option(
        None,
        "Maximum number of requests in flight; without --request-rate, a closed loop.",
        flags=("--concurrency", "--max-concurrency", "-c"),
        ge=1,
        le=MAX_CONCURRENCY,
    )

    request_rate: float | None = option(
        None,
        "Requests per second; inf sends all at once (the default, except for traces).",
        ge=MIN_REQUEST_RATE,
        le=MAX_REQUEST_RATE,
        allows_inf=True,
    )
    burstiness: float = option(
        1.0,
        "Shape of the gamma-distributed gaps: 1 is a Poisson process, less is burstier, inf is a "
        "fixed rate.",
        ge=0.001,
        le=1_000_000,
        allows_inf=True,
    )


@dataclass(frozen=True, kw_only=True)
class ResultConfig:
    """What is recorded, and when a run is rejected."""

    goodput: tuple[str, ...] = option(
        (),
        "Latency limits of a well-served request, in ms: ttft, tpot, itl (mean gap), max_itl, "
        "e2el. Takes several values.",
        metavar="NAME:MS ...",
    )
    save_records: bool = option(False, "Save every request in --output.")
    save_text: bool = option(False, "Save output texts too.")
    allow_client_bound: bool = option(
        False, "Report a run in which the client was the bottleneck; it is marked."
    )
    watch_memory: bool = option(True, "Sample the memory of a server on this machine.")
    pid: int | None = option(
        None,
        "Process id of the server; by default, the process that listens on --base-url's port.",
        ge=1,
        le=_MAX_PID,
    )


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """Where the result is written."""

    output: Path | None = option(None, "JSON file for the result.", flags=("--output", "-o"))
    csv: Path | None = option(None, "CSV file with one row per request (offline: per batch).")
    as_json: bool = option(False, "Print the result as JSON instead of tables.", flags=("--json",))


class MultiValueCommand(TyperCommand):
    """A command whose --goodput takes several values, as in ``vllm bench serve``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, repeat_flag("--goodput", args))


def repeat_flag(flag: str, arguments: list[str]) -> list[str]:
    """``--goodput a b`` as ``--goodput a --goodput b``, up to the next option."""
    spread: list[str] = []
    is_within = is_first = False
    for argument in arguments:
        if argument == flag:
            is_within = is_first = True
        elif argument.startswith("-"):
            is_within = False
        elif is_within and not is_first:
            spread.append(flag)
        else:
            is_first = False
        spread.append(argument)
    return spread


def typed_command(api_key: str | None = None) -> list[str]:
    """This process's command line, without secrets."""
    from headrace.bench.http.credentials import hide_key
    from headrace.bench.redaction import without_secrets

    return ["headrace", *(hide_key(each, api_key) for each in without_secrets(sys.argv[1:]))]


def new_salt() -> str:
    """A random prefix for the cache salts of one command's runs."""
    return secrets.token_hex(8)


def parse_numbers(flag: str, text: str, allowed: Bounds) -> list[float]:
    """``1,2,4,8``"""
    from headrace.bench.errors import OptionError

    try:
        numbers = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise OptionError(
            f"{flag} {text}: give comma-separated numbers, such as 1,2,4,8."
        ) from None
    for number in numbers:
        check_number(flag, number, allowed)
    return numbers


def parse_extra_body(text: str | None) -> dict[str, object]:
    import json

    from headrace.bench.errors import OptionError

    if text is None:
        return {}

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not valid JSON")

    try:
        body = json.loads(text, parse_constant=refuse)
        json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise OptionError(f"--extra-body is not valid JSON: {error}.") from None
    if not isinstance(body, dict):
        raise OptionError("--extra-body must be a JSON object, such as '{\"temperature\": 0}'.")
    return body


def workload_options(workload: WorkloadConfig, endpoint: str) -> "WorkloadOptions":
    from headrace.bench.workloads.options import WorkloadOptions

    return WorkloadOptions(
        dataset=workload.dataset,
        path=workload.dataset_path,
        num_prompts=workload.num_prompts,
        seed=workload.seed,
        endpoint=endpoint,
        input_len=workload.input_len,
        output_len=workload.output_len,
        range_ratio=workload.range_ratio,
        prefix_len=workload.prefix_len,
        num_prefixes=workload.num_prefixes,
        time_scale=workload.time_scale,
        max_input_len=workload.max_input_len,
        max_output_len=workload.max_output_len,
        ignore_eos=workload.ignore_eos,
        tokenizer=workload.tokenizer,
        vocab_size=workload.vocab_size,
        prompt_form=workload.prompt_form,
    )


def choose_arrivals(config: ArrivalConfig, dataset: str, seed: int) -> "Arrivals":
    """At a rate if one is given, else a trace's times, else a closed loop, else all at once."""
    from headrace.bench.load.arrivals import ClosedLoop, RatedArrivals, TraceArrivals

    if config.request_rate is not None:
        return RatedArrivals(config.request_rate, config.burstiness, config.concurrency, seed)
    if dataset in TRACES:
        return TraceArrivals(config.concurrency)
    if config.concurrency is not None:
        return ClosedLoop(config.concurrency)
    return RatedArrivals(float("inf"), seed=seed)


def make_plan(
    server: ServerConfig,
    options: "WorkloadOptions",
    arrivals: "Arrivals",
    *,
    draw: int = 0,
    salt: str | None = None,
    **setting: Any,
) -> "RunPlan":
    """The plan of one run.

    draw: added to the seed, so that prefixes cached during one run do not serve the next.
    salt: has the same effect for prompts that are not drawn at random, on servers with cache_salt.
    """
    from headrace.bench.measurement import RunPlan
    from headrace.bench.workloads.factory import load_workload

    return RunPlan(
        workload=load_workload(replace(options, seed=options.seed + draw)),
        arrivals=arrivals,
        endpoint=server.endpoint,
        is_streamed=server.stream,
        num_warm_ups=server.num_warm_ups,
        timeout_s=server.timeout_s,
        extra_body={
            **({} if salt is None else {"cache_salt": salt}),
            **parse_extra_body(server.extra_body),
        },
        setting={"dataset": options.dataset, "seed": options.seed + draw, **setting},
    )


def make_measurement_options(result: ResultConfig, tokenizer: Path | None) -> "MeasurementOptions":
    from headrace.bench.figures.goodput import parse_limits
    from headrace.bench.figures.token_counter import count_tokens_of, load_token_counter
    from headrace.bench.measurement import MeasurementOptions

    counter = load_token_counter(tokenizer)
    return MeasurementOptions(
        limits=parse_limits(result.goodput),
        count_tokens=None if counter is None else lambda records: count_tokens_of(records, counter),
        allow_client_bound=result.allow_client_bound,
        watches_memory=result.watch_memory,
        server_pid=result.pid,
        keeps_records=result.save_records or result.save_text,
        keeps_text=result.save_text,
    )
