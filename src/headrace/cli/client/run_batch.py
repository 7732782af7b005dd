"""``headrace run-batch``: send the requests of a file, and write the responses to another."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from headrace.cli.client.batch_display import BatchDisplay
from headrace.cli.client.server import KeyOption, UrlOption, open_server
from headrace.cli.errors import report_errors
from headrace.cli.options import DEFAULT_MODEL
from headrace.core.errors import InvalidInputError
from headrace.core.options import Bounds
from headrace.model_client.batch_files import BatchInput, BatchOutput
from headrace.model_client.batch_run import BatchOptions, BatchProgress, run_batch
from headrace.model_client.model_server import ServerAddress

_INTERRUPTED = 130


def run_batch_command(
    input_file: Annotated[
        Path,
        typer.Option("--input-file", "-i", help="Requests: one JSON object per line."),
    ],
    output_file: Annotated[
        Path,
        typer.Option(
            "--output-file",
            "-o",
            help="Results: one line per request, in the same order. Those that it has already are "
            "kept.",
        ),
    ],
    serve_options: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- SERVE_OPTIONS]",
            help="Options of the server that is started, such as -- --max-model-len 4096.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help=f"Model to serve for the batch (default: {DEFAULT_MODEL}).",
            show_default=False,
        ),
    ] = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    max_concurrency: Annotated[
        int, typer.Option(help="Maximum number of requests at once."), Bounds(ge=1, le=4096)
    ] = 64,
    max_retries: Annotated[
        int,
        typer.Option(help="Retries of a request if the server is overloaded or unreachable."),
        Bounds(ge=0, le=1000),
    ] = 5,
    timeout: Annotated[
        float | None,
        typer.Option(help="Seconds to wait for a response.", show_default="no limit"),
        Bounds(gt=0, le=86_400.0),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Send failed requests of an earlier run again.")
    ] = False,
) -> None:
    """Run a batch of requests in OpenAI's batch format.

    Run the same command again to continue a batch that was interrupted. The exit code is 1 if a
    request failed.
    """
    options = BatchOptions(
        max_concurrency=max_concurrency, max_retries=max_retries, timeout_s=timeout
    )
    with report_errors():
        if input_file.resolve() == output_file.resolve():
            raise InvalidInputError("--input-file and --output-file are the same file.")
        source = BatchInput(input_file)
        try:
            with open_server(model, url, api_key, serve_options or ()) as address:
                progress = _run(source, output_file, address, options, retry_failed=retry_failed)
        except KeyboardInterrupt:
            print(
                f"Interrupted. {output_file} has the results so far; run the same command again to "
                "continue.",
                file=sys.stderr,
            )
            raise typer.Exit(_INTERRUPTED) from None
        finally:
            source.close()
    _print_summary(progress, output_file)
    raise typer.Exit(1 if progress.num_failed else 0)


def _run(
    source: BatchInput,
    output_file: Path,
    address: ServerAddress,
    options: BatchOptions,
    *,
    retry_failed: bool,
) -> BatchProgress:
    output = BatchOutput(output_file, retry_failed=retry_failed)
    is_complete = False
    try:
        with BatchDisplay() as display:
            progress = asyncio.run(run_batch(source, output, address, options, display.update))
        is_complete = True
    finally:
        output.close(is_complete=is_complete)
    return progress


def _print_summary(progress: BatchProgress, output_file: Path) -> None:
    reused = f" ({progress.num_reused} by an earlier run)" if progress.num_reused else ""
    print(
        f"{progress.num_succeeded} succeeded{reused}, {progress.num_failed} failed; "
        f"{progress.num_prompt_tokens} prompt tokens, {progress.num_output_tokens} output tokens, "
        f"{progress.seconds:.1f} s. Results: {output_file}"
    )
