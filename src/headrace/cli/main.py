"""The ``headrace`` command."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from headrace.cli.command_hints import hint_for
from headrace.cli.options import NORMALIZE
from headrace.cli.serving.vllm_options import ServeCommand
from headrace.cli.standard_streams import run_command
from headrace.cli.subcommands import Subcommand, add_subcommands
from headrace.version import __version__

_SERVE = {
    "serve": Subcommand(
        module="headrace.cli.serving.serve",
        attribute="serve",
        cls=ServeCommand,
        context_settings=NORMALIZE,
    ),
    "models": Subcommand(module="headrace.cli.models"),
    "chat": Subcommand(module="headrace.cli.client.chat", attribute="chat"),
    "complete": Subcommand(module="headrace.cli.client.complete", attribute="complete"),
    "run-batch": Subcommand(
        module="headrace.cli.client.run_batch",
        attribute="run_batch_command",
        context_settings=NORMALIZE,
    ),
}
_DEPLOY = {
    "up": Subcommand(module="headrace.cli.deploy.up", attribute="up", panel="Deploy"),
    "status": Subcommand(module="headrace.cli.deploy.up", attribute="status", panel="Deploy"),
    "down": Subcommand(module="headrace.cli.deploy.up", attribute="down", panel="Deploy"),
    "dashboard": Subcommand(
        module="headrace.cli.deploy.dashboard", attribute="dashboard", panel="Deploy"
    ),
    "usage": Subcommand(module="headrace.cli.deploy.usage", attribute="usage", panel="Deploy"),
    "service": Subcommand(module="headrace.cli.deploy.service", panel="Deploy"),
    "revision": Subcommand(module="headrace.cli.deploy.revision", panel="Deploy"),
    "gateway": Subcommand(module="headrace.cli.deploy.gateway", panel="Deploy"),
    "run": Subcommand(module="headrace.cli.deploy.run", panel="Deploy"),
    "secret": Subcommand(module="headrace.cli.deploy.secret", panel="Deploy"),
    "token": Subcommand(module="headrace.cli.deploy.token", panel="Deploy"),
    "monitoring": Subcommand(module="headrace.cli.deploy.monitoring", panel="Deploy"),
    "schema": Subcommand(module="headrace.cli.deploy.schema", attribute="schema", panel="Deploy"),
}
_MEASURE = {
    "bench": Subcommand(module="headrace.cli.bench", attribute="build_app", panel="Measure"),
    "baseline": Subcommand(module="headrace.cli.baseline", attribute="baseline", panel="Measure"),
}


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


def build_app(words: Sequence[str] = ()) -> typer.Typer:
    """The command, with the subcommand that ``words``, the command line, begin with; else with all
    of them."""
    app = typer.Typer(
        name="headrace",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    if list(words) != ["--version"]:
        add_subcommands(app, _SERVE | _DEPLOY | _MEASURE, words)
    return app


def main() -> None:
    """Run the command line, and exit with its code."""
    sys.exit(run_command(_run))


def _run() -> None:
    words = sys.argv[1:]
    hint = hint_for(words)
    if hint is not None:
        print(f"Error: {hint}", file=sys.stderr)
        sys.exit(2)
    build_app(words)()
