"""``headrace bench latency``: one batch again and again, without a server."""

from typing import Annotated, Any

import typer

from headrace.cli.bench.offline import measure_offline
from headrace.cli.bench.options import BatchCsvOption, JsonOption, OutputOption
from headrace.cli.bench.publishing import Outputs
from headrace.cli.options import with_options_of
from headrace.engine.config import EngineConfig


@with_options_of(EngineConfig, leave_out=("model",))
def latency(
    model: Annotated[
        str, typer.Option(help="Short name, directory, .gguf file, hub id or pypi:PACKAGE.")
    ] = "smollm2-135m",
    batch_size: Annotated[int, typer.Option(help="Prompts in the batch.")] = 8,
    input_len: Annotated[int, typer.Option(help="Tokens of each prompt, drawn at random.")] = 32,
    output_len: Annotated[int, typer.Option(help="Tokens generated for each.")] = 128,
    num_iters: Annotated[int, typer.Option(help="Batches that are measured.")] = 10,
    num_warm_up_iters: Annotated[int, typer.Option(help="Batches before them.")] = 1,
    seed: Annotated[int, typer.Option(help="Draws the prompts.")] = 0,
    output: OutputOption = None,
    csv: BatchCsvOption = None,
    as_json: JsonOption = False,
    **values: Any,
) -> None:
    """Generate one batch again and again in this process; how long it takes."""
    measure_offline(
        "latency",
        model,
        values,
        Outputs(output, csv, as_json),
        num_prompts=batch_size,
        input_len=input_len,
        output_len=output_len,
        num_iters=num_iters,
        num_warm_up_iters=num_warm_up_iters,
        seed=seed,
    )
