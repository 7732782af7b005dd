"""The ``headrace`` command."""

import sys
from typing import Annotated

import typer

from headrace.cli.baseline import baseline
from headrace.cli.bench import app as bench
from headrace.cli.client.chat import chat
from headrace.cli.client.complete import complete
from headrace.cli.client.run_batch import run_batch_command
from headrace.cli.command_hints import hint_for
from headrace.cli.deploy.dashboard import dashboard
from headrace.cli.deploy.gateway import app as gateway
from headrace.cli.deploy.monitoring import app as monitoring
from headrace.cli.deploy.revision import app as revision
from headrace.cli.deploy.run import app as run
from headrace.cli.deploy.schema import schema
from headrace.cli.deploy.secret import app as secret
from headrace.cli.deploy.service import app as service
from headrace.cli.deploy.token import app as token
from headrace.cli.deploy.up import down, status, up
from headrace.cli.deploy.usage import usage
from headrace.cli.models import app as models
from headrace.cli.options import NORMALIZE
from headrace.cli.serve import serve
from headrace.cli.standard_streams import run_command
from headrace.cli.vllm_options import ServeCommand
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
    """Serve, deploy and benchmark language models."""


def build_app() -> typer.Typer:
    """The command with all its groups."""
    app = typer.Typer(
        name="headrace",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    app.command(context_settings=NORMALIZE, cls=ServeCommand)(serve)
    app.add_typer(models, name="models")
    for use in (chat, complete):
        app.command()(use)
    app.command("run-batch", context_settings=NORMALIZE)(run_batch_command)
    for command in (up, status, down, dashboard, usage):
        app.command(rich_help_panel="Deploy")(command)
    for group in (service, revision, gateway, run, secret, token):
        app.add_typer(group, rich_help_panel="Deploy")
    app.add_typer(monitoring, name="monitoring", rich_help_panel="Deploy")
    app.command(rich_help_panel="Deploy")(schema)
    app.add_typer(bench, rich_help_panel="Measure")
    app.command(rich_help_panel="Measure")(baseline)
    return app


def main() -> None:
    """Run the command line, and exit with its code."""
    sys.exit(run_command(_run))


def _run() -> None:
    hint = hint_for(sys.argv[1:])
    if hint is not None:
        print(f"Error: {hint}", file=sys.stderr)
        sys.exit(2)
    build_app()()
