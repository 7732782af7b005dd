"""What ``throughput`` and ``latency`` share: run the engine in this process, tell what it gave."""

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.bench.options import OutputConfig, typed_command
from headrace.cli.bench.output import check_outputs, publish
from headrace.cli.options import build
from headrace.engine.config import EngineConfig, option

if TYPE_CHECKING:
    from headrace.bench.figures.offline_figures import OfflineMode

DEFAULT_MODEL = "smollm2-135m"

ENGINE_OPTIONS = frozenset(field.name for field in fields(EngineConfig))
"""Their ranges are the engine's to hold."""

ModelOption = Annotated[
    str, typer.Option(help="Short name, directory, .gguf file, hub id or pypi:PACKAGE.")
]


@dataclass(frozen=True, kw_only=True)
class OfflineConfig:
    """Which batches are generated; the rest of OfflinePlan differs between the two."""

    output_len: int = option(128, "Tokens generated for each.")
    num_warm_up_iters: int = option(1, "Batches before those that are measured.")
    seed: int = option(0, "Draws the prompts.")


def measure_offline(
    mode: "OfflineMode", model: str, values: dict[str, Any], *, num_iters: int, **size: int
) -> None:
    """``values`` are the options of OfflineConfig, OutputConfig and EngineConfig."""
    import sys

    from rich.console import Console

    from headrace.bench.offline import OfflinePlan, run_offline
    from headrace.bench.results.result_file import new_result
    from headrace.bench.results.tables import offline_table

    outputs, config = build(OutputConfig, values), build(OfflineConfig, values)
    check_outputs(outputs)
    engine_options = {name: value for name, value in values.items() if name in ENGINE_OPTIONS}
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
