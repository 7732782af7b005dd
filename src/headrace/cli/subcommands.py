"""Commands that are imported once the command line names them, so that each of them starts fast."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand


@dataclass(frozen=True, kw_only=True)
class Subcommand:
    """Where a command, or a group of commands, is defined."""

    module: str
    attribute: str = "app"
    """A function for a command; for a group a Typer, or ``build_app``."""
    cls: type[TyperCommand] = TyperCommand
    context_settings: dict[str, Any] | None = None
    panel: str | None = None
    """The panel of the help that lists it."""


def add_subcommands(
    app: typer.Typer, subcommands: Mapping[str, Subcommand], words: Sequence[str]
) -> None:
    """Add the one that the command line's words begin with; if they name none, as for ``--help``,
    all of them."""
    names = words[:1] if words and words[0] in subcommands else list(subcommands)
    for name in names:
        _add(app, name, subcommands[name], words[1:])


def _add(app: typer.Typer, name: str, subcommand: Subcommand, words: Sequence[str]) -> None:
    found = getattr(import_module(subcommand.module), subcommand.attribute)
    if subcommand.attribute == "build_app":
        found = found(words)
    if isinstance(found, typer.Typer):
        app.add_typer(found, name=name, rich_help_panel=subcommand.panel)
    else:
        app.command(
            name,
            cls=subcommand.cls,
            context_settings=subcommand.context_settings,
            rich_help_panel=subcommand.panel,
        )(found)
