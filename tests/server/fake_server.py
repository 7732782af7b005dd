"""A program: the server on a fake engine core, with the options of ``headrace serve``.

The model is the parrot of headrace.testing.fakes.fake_model, with options of the fake core behind a
question mark: ``parrot?step_s=0.01``.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from headrace.cli.errors import report_errors
from headrace.cli.options import NORMALIZE, build, with_options_of
from headrace.cli.serving.start_display import StartDisplay
from headrace.engine.async_engine import AsyncEngine, OnPhase
from headrace.engine.config import EngineConfig
from headrace.engine.tokenization.tokenizer import load_tokenizer
from headrace.server.config import ServerConfig
from headrace.server.lifecycle import serve as run_server
from headrace.server.model_pool.spec import ModelSpec
from headrace.server.reporting.metrics import ServerMetrics
from headrace.testing.fakes.fake_core import FACTORY, parse_options
from headrace.testing.fakes.fake_model import fake_name, write_model
from headrace.testing.models.sentence_files import write_sentence_files


def _write_prompts(directory: Path) -> None:
    prompts = {"query": "q", "document": "d", "other": "o"}
    write_sentence_files(directory, "last", prompts=prompts, default_prompt_name="other")


@with_options_of(EngineConfig, ServerConfig, leave_out=("model", "max_loaded_models"))
def _main(
    models: Annotated[list[str] | None, typer.Argument(metavar="MODEL...")] = None, **values: Any
) -> None:
    """Serve fake models."""
    config = build(ServerConfig, values)
    specs = _specs(models or ["parrot"], values, config)
    display = StartDisplay(several=len(specs) > 1)
    with tempfile.TemporaryDirectory() as directory:
        files = write_model(Path(directory))
        if any(parse_options(spec.engine.model).has_prompts for spec in specs):
            _write_prompts(files.path)

        async def start(
            engine_config: EngineConfig, metrics: ServerMetrics, on_phase: OnPhase
        ) -> AsyncEngine:
            return await AsyncEngine.start_with(
                engine_config,
                files,
                load_tokenizer(files, None),
                factory=FACTORY,
                max_queue=config.max_queue,
                observer=metrics,
                on_phase=on_phase,
            )

        with report_errors():
            code = run_server(config, specs, start, display)
    raise typer.Exit(code)


def _specs(models: list[str], values: dict[str, Any], config: ServerConfig) -> list[ModelSpec]:
    """Several models are named by what is before their question mark."""
    return [
        ModelSpec(
            engine=build(EngineConfig, values, model=fake_name(model)),
            server=config
            if len(models) == 1
            else replace(config, served_model_name=(model.partition("?")[0],)),
        )
        for model in models
    ]


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(context_settings=NORMALIZE)(_main)
    app()
