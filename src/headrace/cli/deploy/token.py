"""``headrace token``: tokens of the control plane's API."""

from enum import StrEnum
from typing import Annotated

import typer

from headrace.cli.deploy.control_client import JsonOption, connected, print_json
from headrace.cli.deploy.render.resources import show_time
from headrace.cli.tables import print_table

app = typer.Typer(
    name="token", help="Manage tokens of the control plane's API.", no_args_is_help=True
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Token name.")]


class RoleChoice(StrEnum):
    ADMIN = "admin"
    VIEWER = "viewer"


@app.command("create")
def create_command(
    name: NameArgument,
    role: Annotated[
        RoleChoice, typer.Option(help="Role; a viewer has read-only access.")
    ] = RoleChoice.VIEWER,
    as_json: JsonOption = False,
) -> None:
    """Create a token.

    For example: headrace token create ci --role admin
    It is shown only once. Use it as HEADRACE_API_TOKEN.
    """
    with connected() as client:
        token = client.create_token(name, role)
    if as_json:
        print_json(token)
        return
    print(f"Token '{token.name}' ({token.role}, shown only once):")
    print(token.token)
    print("Use it as HEADRACE_API_TOKEN, or send it as: Authorization: Bearer TOKEN")


@app.command("list")
def list_command(as_json: JsonOption = False) -> None:
    """List all tokens."""
    with connected() as client:
        tokens = client.tokens()
    if as_json:
        print_json(tokens)
        return
    print(f"{len(tokens)} token(s) found.")
    print()
    print_table(
        ("Name", "Role", "Created"),
        ((token.name, token.role, show_time(token.created_at)) for token in tokens),
    )


@app.command("delete")
def delete_command(name: NameArgument) -> None:
    """Revoke a token."""
    with connected() as client:
        client.delete_token(name)
    print(f"Deleted token '{name}'.")
