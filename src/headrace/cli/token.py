"""``headrace token``: who may use the control plane's API."""

from enum import StrEnum
from typing import Annotated

import typer

from headrace.cli.connecting import JsonOption, connected, print_json
from headrace.cli.showing import print_table, show_time

app = typer.Typer(name="token", help="Tokens for the control plane's API.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="Whose token it is.")]


class RoleChoice(StrEnum):
    ADMIN = "admin"
    VIEWER = "viewer"


@app.command("create")
def create_command(
    name: NameArgument,
    role: Annotated[
        RoleChoice, typer.Option(help="A viewer may look at everything and change nothing.")
    ] = RoleChoice.VIEWER,
) -> None:
    """Make a token."""
    with connected() as client:
        token = client.create_token(name, role)
    print(f"Token '{token.name}' ({token.role}), shown this once:")
    print(token.token)
    print("Use it as HEADRACE_API_TOKEN, or send it as: Authorization: Bearer TOKEN")


@app.command("list")
def list_command(as_json: JsonOption = False) -> None:
    """Show whose tokens there are."""
    with connected() as client:
        tokens = client.tokens()
    if as_json:
        print_json(tokens)
        return
    print_table(
        ("NAME", "ROLE", "CREATED"),
        ((token.name, token.role, show_time(token.created_at)) for token in tokens),
    )


@app.command("delete")
def delete_command(name: NameArgument) -> None:
    """Make a token useless."""
    with connected() as client:
        client.delete_token(name)
    print(f"Deleted token '{name}'.")
