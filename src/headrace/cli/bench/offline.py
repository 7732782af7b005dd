"""``headrace bench throughput`` and ``latency``: the engine in this process, without a server."""

import sys
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.bench.command import bench_command
from headrace.cli.bench.options import (
    MAX_REPEATS,
    MAX_REQUESTS,
    MAX_SEED,
    MAX_TOKENS,
    OutputConfig,
    typed_command,
)
from headrace.cli.bench.output import check_outputs, publish
from headrace.cli.options import DEFAULT_MODEL, build, with_options_of
from headrace.core.options import Bounds, option
from headrace.engine.config import EngineConfig

if TYPE_CHECKING:
    from headrace.bench.figures.offline_figures import OfflineMode

_ENGINE_OPTIONS = frozenset(field.name for field in fields(EngineConfig))

ModelOption = Annotated[
    str, typer.Option(help="Short name, directory, .gguf file, hub id or pypi:PACKAGE.")
]
InputLenOption = Annotated[
    int,
    typer.Option(help="Tokens per prompt, drawn at random."),
    Bounds(ge=1, le=MAX_TOKENS),
]
NumItersOption = Annotated[
    int, typer.Option(help="Number of measured batches."), Bounds(ge=1, le=MAX_REPEATS)
]


@dataclass(frozen=True, kw_only=True)
class OfflineConfig:
    """What both commands share; defaults of the rest of OfflinePlan differ."""

    output_len: int = option(128, "Output tokens per prompt.", ge=1, le=MAX_TOKENS)
    num_warm_up_iters: int = option(
        1, "Warm-up batches before the measured ones.", ge=0, le=MAX_REPEATS
    )
    seed: int = option(0, "Random seed of the prompts.", ge=0, le=MAX_SEED)


@bench_command
@with_options_of(
    OfflineConfig, OutputConfig, EngineConfig, leave_out=("model", "max_loaded_models")
)
def throughput(
    model: ModelOption = DEFAULT_MODEL,
    num_prompts: Annotated[
        int,
        typer.Option(help="Number of prompts, all submitted at once."),
        Bounds(ge=1, le=MAX_REQUESTS),
    ] = 64,
    input_len: InputLenOption = 128,
    num_iters: NumItersOption = 1,
    **values: Any,
) -> None:
    """Measure the throughput of one large batch in this process."""
    size = {"num_prompts": num_prompts, "input_len": input_len, "num_iters": num_iters}
    _measure_offline("throughput", model, values, **size)


@bench_command
@with_options_of(
    OfflineConfig, OutputConfig, EngineConfig, leave_out=("model", "max_loaded_models")
)
def latency(
    model: ModelOption = DEFAULT_MODEL,
    batch_size: Annotated[
        int, typer.Option(help="Prompts in the batch."), Bounds(ge=1, le=1_000_000)
    ] = 8,
    input_len: InputLenOption = 32,
    num_iters: NumItersOption = 10,
    **values: Any,
) -> None:
    """Measure the latency of one batch, repeated in this process."""
    size = {"num_prompts": batch_size, "input_len": input_len, "num_iters": num_iters}
    _measure_offline("latency", model, values, **size)


def _measure_offline(
    mode: "OfflineMode", model: str, values: dict[str, Any], *, num_iters: int, **size: int
) -> None:
    """values: the options of OfflineConfig, OutputConfig and EngineConfig."""
    from rich.console import Console

    from headrace.bench.offline import OfflinePlan, run_offline
    from headrace.bench.results.result_file import new_result
    from headrace.bench.results.tables import offline_table

    outputs, config = build(OutputConfig, values), build(OfflineConfig, values)
    check_outputs(outputs)
    engine_options = {name: value for name, value in values.items() if name in _ENGINE_OPTIONS}
    plan = OfflinePlan(
        mode=mode, engine_options=engine_options, num_iters=num_iters, **size, **asdict(config)
    )
    result = new_result(mode, typed_command(), config.seed)
    status = Console(stderr=True, quiet=not sys.stderr.isatty()).status("Loading the model")

    def on_batch(done: int, total: int) -> None:
        status.update(f"Batch {min(done + 1, total)} of {total}")

    with status:
        outcome = run_offline(model, plan, on_batch)
    publish(
        result.finished(offline=outcome.figures),
        [],
        outputs,
        lambda: [offline_table(outcome.figures)],
        outcome.ended_by,
    )
