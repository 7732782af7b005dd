"""Options that several bench commands share, and what is made of them.

Knows the command line's words; what they do is bench's.
"""

import secrets
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
from typer.core import TyperCommand

from headrace.cli.bench.ranges import Range
from headrace.engine.config import option

if TYPE_CHECKING:  # what runs is imported once a command runs, so that --help is fast
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

CacheSaltOption = Annotated[
    bool,
    typer.Option(
        "--cache-salt",
        help="Give each run a salt of its own (for servers that know cache_salt, as Headrace and "
        "vLLM do), so that none is answered from prefixes kept of the run before.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Which server is asked, and how."""

    base_url: str = option("http://127.0.0.1:8000", "The server's address.")
    model: str | None = option(
        None, "Name of the model in requests; if not given, the first of /v1/models."
    )
    api_key: str | None = option(None, "Key to send as bearer token.", env="OPENAI_API_KEY")
    ssl_ca_certs: Path | None = option(
        None,
        "PEM file of certificate authorities to trust beside the system's, for https with a "
        "private CA. SSL_CERT_FILE does the same in their place.",
    )
    endpoint: Literal["completions", "chat"] = option("completions", "Which of the API's two.")
    stream: bool = option(True, "Ask for streamed answers.")
    timeout_s: float = option(600.0, "Seconds that a request may take.")
    num_warm_ups: int = option(4, "Requests before the run that are not counted.")
    extra_body: str | None = option(
        None, "JSON object with more fields for each request, such as '{\"temperature\": 0}'."
    )


@dataclass(frozen=True, kw_only=True)
class WorkloadConfig:
    """Which requests are sent."""

    dataset: Dataset = option("random", "Where the prompts come from.")
    dataset_path: Path | None = option(None, "The data set's file.")
    num_prompts: int | None = option(
        None, "How many; by default all of the file, or 100 random ones."
    )
    input_len: int = option(128, "Tokens of a random prompt.")
    output_len: int | None = option(
        None, "Tokens of each answer (max_tokens); by default what the data set says."
    )
    range_ratio: float = option(0.0, "Random lengths spread this far around theirs, in [0, 1).")
    prefix_len: int | None = option(
        None,
        "Tokens that random prompts share at their beginning; by default none, and 1,024 for "
        "shared-prefix.",
    )
    num_prefixes: int = option(1, "Different such beginnings.")
    time_scale: float = option(1.0, "Multiplies a trace's times; 0.5 replays it twice as fast.")
    max_input_len: int | None = option(None, "Longer prompts are left out (traces: cut).")
    max_output_len: int | None = option(None, "Longer answers are cut.")
    prompt_form: Literal["auto", "text", "ids"] = option(
        "auto", "Random prompts as text or as token ids; auto: ids for completions."
    )
    vocab_size: int = option(32_000, "Random token ids lie below it.")
    tokenizer: Path | None = option(
        None,
        "A tokenizer.json or its folder: answers are counted with it too, and texts have exact "
        "lengths.",
    )
    ignore_eos: bool | None = option(
        None,
        "Answer until --output-len. By default for random prompts and traces alone.",
        flags=("--ignore-eos/--no-ignore-eos",),
    )
    seed: int = option(0, "Draws the prompts and the arrivals.")


@dataclass(frozen=True, kw_only=True)
class ArrivalConfig:
    """When they are sent."""

    concurrency: int | None = option(
        None,
        "Most requests under way at a time; without --request-rate, always so many.",
        flags=("--concurrency", "--max-concurrency", "-c"),
    )

    request_rate: float | None = option(
        None, "Requests a second; inf sends all at once, which is the default but for traces."
    )
    burstiness: float = option(
        1.0, "1 is a Poisson process, less comes in bursts, inf at a fixed rate."
    )


@dataclass(frozen=True, kw_only=True)
class ResultConfig:
    """What is kept, and when it is refused."""

    goodput: tuple[str, ...] = option(
        (),
        "Longest times of a request that counts as well served, in ms: ttft, tpot, itl (mean gap), "
        "max_itl, e2el. Several may follow.",
        metavar="NAME:MS ...",
    )
    save_records: bool = option(False, "Keep every request in --output.")
    save_text: bool = option(False, "Keep the answers' texts there too.")
    allow_client_bound: bool = option(
        False, "Report a result that the client itself has slowed down; it is marked."
    )
    watch_memory: bool = option(True, "Sample the memory of a server on this machine.")
    pid: int | None = option(
        None, "The server's process, if not what listens on the port of --base-url."
    )


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """Where the result goes."""

    output: Path | None = option(
        None, "Write the result to this JSON file.", flags=("--output", "-o")
    )
    csv: Path | None = option(
        None, "Write one row a request (without a server: a batch) to this CSV file."
    )
    as_json: bool = option(False, "Print the result as JSON instead of tables.", flags=("--json",))


class SeveralValues(TyperCommand):
    """A command whose --goodput may be followed by several values, as vLLM's users write it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, repeat_flag("--goodput", args))


def repeat_flag(flag: str, arguments: list[str]) -> list[str]:
    """``--goodput a b`` as ``--goodput a --goodput b``; what begins with a dash ends the values."""
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
    """This very command, fit for a file."""
    from headrace.bench.http.credentials import hide_key
    from headrace.bench.redaction import without_secrets

    return ["headrace", *(hide_key(each, api_key) for each in without_secrets(sys.argv[1:]))]


def new_salt() -> str:
    """The beginning of the salts of one command's runs; no other command has it."""
    return secrets.token_hex(8)


def parse_numbers(flag: str, text: str, allowed: Range) -> list[float]:
    """``1,2,4,8``"""
    from headrace.bench.errors import OptionError

    try:
        numbers = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise OptionError(f"{flag} {text}: write numbers with commas, such as 1,2,4,8.") from None
    for number in numbers:
        allowed.check(flag, number)
    return numbers


def parse_extra_body(text: str | None) -> dict[str, object]:
    import json

    from headrace.bench.errors import OptionError

    if text is None:
        return {}

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"JSON has no {constant}")

    try:
        body = json.loads(text, parse_constant=refuse)
        json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise OptionError(f"--extra-body is no JSON: {error}.") from None
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
    """A rate if one is given; else a trace's own times; else a closed loop; else all at once."""
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
    """The plan of one run. ``draw`` makes prompts that are drawn differ from those of other runs,
    so that a prefix cache that knows one run's prompts does nothing for the next; ``salt`` does
    that for all prompts."""
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
