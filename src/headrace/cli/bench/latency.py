"""``headrace bench latency``: one batch again and again, without a server."""

from typing import Annotated, Any

import typer

from headrace.cli.bench.command import bench_command
from headrace.cli.bench.offline import (
    DEFAULT_MODEL,
    ENGINE_OPTIONS,
    ModelOption,
    OfflineConfig,
    measure_offline,
)
from headrace.cli.bench.options import OutputConfig
from headrace.cli.options import with_options_of
from headrace.engine.config import EngineConfig


@bench_command(unchecked=ENGINE_OPTIONS)
@with_options_of(OfflineConfig, OutputConfig, EngineConfig, leave_out=("model",))
def latency(
    model: ModelOption = DEFAULT_MODEL,
    batch_size: Annotated[int, typer.Option(help="Prompts in the batch.")] = 8,
    input_len: Annotated[int, typer.Option(help="Tokens of each prompt, drawn at random.")] = 32,
    num_iters: Annotated[int, typer.Option(help="Batches that are measured.")] = 10,
    **values: Any,
) -> None:
    """Generate one batch again and again in this process; how long it takes."""
    size = {"num_prompts": batch_size, "input_len": input_len, "num_iters": num_iters}
    measure_offline("latency", model, values, **size)
