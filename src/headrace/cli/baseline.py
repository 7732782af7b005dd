"""``headrace baseline``: the naive server, as a baseline for measurements."""

from dataclasses import replace
from typing import Annotated, Literal

import typer

from headrace.cli.errors import report_errors

DEFAULT_PORT = 8001
"""Next to ``headrace serve``, so that both can run at once."""


def baseline(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Short name, directory, .gguf file, hub id or pypi:PACKAGE.",
            show_default=False,
        ),
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="Port to listen on; 0 for a free one."),
    ] = DEFAULT_PORT,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"],
        typer.Option(help="Type of weights and activations."),
    ] = "float32",
    served_model_name: Annotated[
        str | None,
        typer.Option(help="Model name in the API (default: MODEL).", show_default=False),
    ] = None,
) -> None:
    """Serve a model with transformers' generate, one request at a time, as a baseline."""
    with report_errors():
        _run(model, host, port, dtype, served_model_name or model)


def _run(
    model: str, host: str, port: int, dtype: Literal["float32", "bfloat16", "float16"], name: str
) -> None:
    # Imported here, so that --help answers at once.
    from headrace.listen.sockets import bind

    with bind(host, port) as sock:
        from headrace.baseline.loading import load_model
        from headrace.baseline.server import serve
        from headrace.cli.progress import progress_for_stderr
        from headrace.models.sources.resolve import resolve_model

        files = resolve_model(model, progress=progress_for_stderr())
        print(f"Loading {model} with transformers …", flush=True)
        loaded = load_model(replace(files, name=name), dtype)
        serve(loaded, sock, lambda url: _announce(name, dtype, url))


def _announce(name: str, dtype: str, url: str) -> None:
    print(f"Baseline serving {name} ({dtype}) at {url}/v1", flush=True)
