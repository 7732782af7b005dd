"""The server that a command uses: at --url, or started for the time of the command."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console

from headrace.cli.options import DEFAULT_MODEL
from headrace.core.errors import InvalidInputError
from headrace.model_client.local_server import LocalServer
from headrace.model_client.model_server import ModelServer, ServerAddress, parse_server_url

UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="Use the server at this address, such as http://127.0.0.1:8000; default: start one "
        "for the time of this command.",
        show_default=False,
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        metavar="KEY",
        envvar="HEADRACE_API_KEY",
        help="API key of the server at --url. Command lines are visible to all users of the "
        "machine: prefer the environment variable.",
        show_default=False,
    ),
]


@contextmanager
def open_server(
    model: str | None, url: str | None, api_key: str | None, serve_options: Sequence[str]
) -> Iterator[ServerAddress]:
    """The server at ``url``, or one that serves ``model`` in the block.

    serve_options: further options of ``headrace serve``. Raises HeadraceError.
    """
    if url is not None:
        if serve_options:
            raise InvalidInputError(
                f"{serve_options[0]} is for a server that this command starts, but --url names "
                "one that runs already. Remove one of them."
            )
        yield parse_server_url(url, api_key)
        return
    arguments = [model or DEFAULT_MODEL, *serve_options]
    if not sys.stderr.isatty():
        with LocalServer(arguments, _print_line) as server:
            yield ServerAddress(server.base_url, server.api_key)
        return
    console = Console(stderr=True, highlight=False)
    status = console.status(f"Starting {arguments[0]} …")
    status.start()
    try:
        with LocalServer(arguments, lambda line: status.update(f"{line} …")) as server:
            status.stop()
            yield ServerAddress(server.base_url, server.api_key)
    finally:
        status.stop()


def choose_model(server: ModelServer, model: str | None, *, is_local: bool) -> str:
    """The model's name in requests; raises InvalidInputError if the server does not have it."""
    names = server.models()
    if is_local or (model is None and names):
        return names[0]
    if model not in names:
        raise InvalidInputError(
            f"The server has no model {model}; it has: {', '.join(names) or 'none'}."
        )
    return model


def printable(text: str) -> str:
    """A model's text without control characters, which could change the terminal."""
    return "".join(each for each in text if each.isprintable() or each in "\n\t")


def _print_line(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
