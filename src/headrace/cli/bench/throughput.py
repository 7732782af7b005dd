"""``headrace bench throughput``: many prompts at once, without a server."""

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
def throughput(
    model: ModelOption = DEFAULT_MODEL,
    num_prompts: Annotated[int, typer.Option(help="Prompts, all submitted at once.")] = 64,
    input_len: Annotated[int, typer.Option(help="Tokens of each prompt, drawn at random.")] = 128,
    num_iters: Annotated[int, typer.Option(help="Batches that are measured.")] = 1,
    **values: Any,
) -> None:
    """Generate for many prompts in this process; how many tokens a second."""
    size = {"num_prompts": num_prompts, "input_len": input_len, "num_iters": num_iters}
    measure_offline("throughput", model, values, **size)
