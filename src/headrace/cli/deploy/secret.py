"""``headrace secret``: encrypted values for environment variables of manifests."""

import sys
from typing import Annotated

import typer

from headrace.cli.deploy.control_client import JsonOption, connected, decode, print_json
from headrace.core.errors import InvalidInputError

app = typer.Typer(
    name="secret",
    help="Manage secrets, for `env: {VARIABLE: {secret: NAME}}`.",
    no_args_is_help=True,
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Secret name.")]


@app.command("create")
def create_command(name: NameArgument) -> None:
    """Create or update a secret. Prompts for its value, or reads it from stdin.

    For example: headrace secret create hub < token.txt
    A trailing newline is removed. Running processes keep the previous value.
    """
    with connected() as client:
        if sys.stdin.isatty():
            value = str(typer.prompt(f"Value of {name}", hide_input=True, err=True))
        else:
            value = _without_line_end(decode(sys.stdin.buffer.read(), "stdin"))
        if not value:
            raise InvalidInputError("The value is empty. The secret was not changed.")
        client.put_secret(name, value)
    print(f"Secret {name} saved. Use it in a manifest as: {{secret: {name}}}")


@app.command("list")
def list_command(as_json: JsonOption = False) -> None:
    """List the names of all secrets."""
    with connected() as client:
        secrets = client.secrets()
    if as_json:
        print_json(secrets)
        return
    print(f"{len(secrets)} secret(s) found.")
    for secret in secrets:
        print(f"  {secret.name}")


@app.command("delete")
def delete_command(name: NameArgument) -> None:
    """Delete a secret. Fails while an active revision or an open run uses it."""
    with connected() as client:
        client.delete_secret(name)
    print(f"Deleted secret {name}.")


def _without_line_end(text: str) -> str:
    """Without the trailing newline of editors and ``echo``, and without a byte order mark."""
    text = text.removeprefix("\ufeff")
    return text[:-2] if text.endswith("\r\n") else text.removesuffix("\n").removesuffix("\r")
