"""``headrace bench``: one module per command."""

from collections.abc import Sequence

import typer

from headrace.cli.bench.options import MultiValueCommand
from headrace.cli.options import NORMALIZE
from headrace.cli.subcommands import Subcommand, add_subcommands

_MODULES = {
    "serve": "serve",
    "load": "load",
    "sweep": "sweep",
    "compare": "compare",
    "throughput": "offline",
    "latency": "offline",
    "prepare": "prepare",
    "experiment": "experiment",
    "report": "report",
}


def build_app(words: Sequence[str] = ()) -> typer.Typer:
    """The group with the command that ``words``, the rest of the command line, begin with; else
    with all of them."""
    app = typer.Typer(name="bench", no_args_is_help=True, add_completion=False)
    app.callback()(_bench)  # without it, a Typer of one command is that command
    commands = {
        name: Subcommand(
            module=f"headrace.cli.bench.{module}",
            attribute=name,
            cls=MultiValueCommand,
            context_settings=NORMALIZE,
        )
        for name, module in _MODULES.items()
    }
    add_subcommands(app, commands, words)
    return app


def _bench() -> None:
    """Benchmark servers: load tests, latency, comparisons, reports."""
