"""What ``throughput`` and ``latency`` share: run the engine in this process, tell what it gave."""

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from headrace.cli.bench.options import typed_command
from headrace.cli.bench.publishing import Outputs, publish
from headrace.cli.bench.running import reporting
from headrace.engine.config import EngineConfig

if TYPE_CHECKING:
    from headrace.bench.figures.offline_figures import OfflineMode


def measure_offline(
    mode: "OfflineMode", model: str, values: dict[str, Any], outputs: Outputs, **plan: Any
) -> None:
    """``values`` are EngineConfig's options, ``plan`` is the rest of OfflinePlan."""
    with reporting():
        import sys

        from rich.console import Console

        from headrace.bench.offline import OfflinePlan, run_offline
        from headrace.bench.results.result_file import new_result
        from headrace.bench.results.tables import offline_table

        names = {field.name for field in fields(EngineConfig)}
        engine_options = {name: value for name, value in values.items() if name in names}
        status = Console(stderr=True, quiet=not sys.stderr.isatty()).status("Loading the model")

        def on_batch(done: int, total: int) -> None:
            status.update(f"Batch {min(done + 1, total)} of {total}")

        with status:
            figures = run_offline(
                model, OfflinePlan(mode=mode, engine_options=engine_options, **plan), on_batch
            )
        publish(
            new_result(mode, typed_command(), plan["seed"], offline=figures),
            [],
            outputs,
            [offline_table(figures)],
        )
