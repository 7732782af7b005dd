"""``headrace serve``: load a model and answer the OpenAI API.

Parses and calls server.lifecycle; the options are those of EngineConfig and ServerConfig.
"""

from typing import Annotated, Any

import typer

from headrace.cli.errors import report_errors
from headrace.cli.options import build, with_options_of
from headrace.core.errors import HeadraceError
from headrace.engine.config import EngineConfig
from headrace.server.config import ServerConfig

DEFAULT_MODEL = "smollm2-135m"


@with_options_of(EngineConfig, ServerConfig, leave_out=("model",))
def serve(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Short name, directory, .gguf file, hub id or pypi:PACKAGE "
            f"(default: {DEFAULT_MODEL}).",
            show_default=False,
        ),
    ] = None,
    model_option: Annotated[
        str | None,
        typer.Option("--model", metavar="MODEL", help="The same as MODEL.", show_default=False),
    ] = None,
    **values: Any,
) -> None:
    """Load a model and answer the OpenAI API."""
    with report_errors():
        name = _choose_model(model, model_option)
        code = _run(build(EngineConfig, values, model=name), build(ServerConfig, values))
    raise typer.Exit(code)


def _choose_model(argument: str | None, option: str | None) -> str:
    named = [name for name in (argument, option) if name is not None]
    if len(set(named)) > 1:
        raise HeadraceError(f"Two models were named, {argument} and {option}; name one.")
    return named[0] if named else DEFAULT_MODEL


def _run(engine_config: EngineConfig, config: ServerConfig) -> int:
    # Imported here, so that --help and wrong options answer at once.
    from headrace.cli.progress import progress_for_stderr
    from headrace.cli.start_display import StartDisplay
    from headrace.engine.async_engine import AsyncEngine
    from headrace.server.lifecycle import serve as run_server
    from headrace.server.metrics import ServerMetrics

    display = StartDisplay()

    async def start(metrics: ServerMetrics) -> AsyncEngine:
        return await AsyncEngine.start(
            engine_config,
            max_queue=config.max_queue,
            observer=metrics,
            on_phase=display.phase,
            progress=progress_for_stderr(),
        )

    try:
        return run_server(config, engine_config, start, display)
    finally:
        display.stop()
