"""The ``headrace`` command: its groups, each in a file of its own."""

from typing import Annotated

import typer

from headrace.cli.models import app as models
from headrace.cli.options import NORMALIZE
from headrace.cli.serve import serve
from headrace.version import __version__


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"headrace {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Serve language models."""


def build_app() -> typer.Typer:
    """The whole command."""
    app = typer.Typer(
        name="headrace",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    app.command(context_settings=NORMALIZE)(serve)
    app.add_typer(models, name="models")
    return app


def main() -> None:
    """Run the command that was typed."""
    build_app()()
