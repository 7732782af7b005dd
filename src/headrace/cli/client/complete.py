"""``headrace complete``: continue texts with a model in the terminal."""

import sys
from contextlib import closing
from typing import Annotated, Any

import typer

from headrace.cli.client.chat import (
    MaxTokensOption,
    ModelArgument,
    SeedOption,
    ServeOptions,
    TemperatureOption,
)
from headrace.cli.client.server import (
    KeyOption,
    UrlOption,
    choose_model,
    open_server,
    printable,
)
from headrace.cli.errors import report_errors
from headrace.model_client.model_server import ModelServer


def complete(
    model: ModelArgument = None,
    serve_options: ServeOptions = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    quick: Annotated[
        str | None,
        typer.Option("--quick", "-q", metavar="TEXT", help="Continue this text, and exit."),
    ] = None,
    temperature: TemperatureOption = None,
    max_tokens: MaxTokensOption = None,
    seed: SeedOption = None,
) -> None:
    """Continue each line of stdin, without a chat template. Ctrl-D ends the command."""
    given = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    with (
        report_errors(),
        open_server(model, url, api_key, serve_options or ()) as address,
        ModelServer(address) as server,
    ):
        parameters = {name: value for name, value in given.items() if value is not None}
        body = {**parameters, "model": choose_model(server, model, is_local=url is None)}
        if quick is not None:
            _print_completion(server, body, quick)
            return
        is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
        while True:
            try:
                text = input("> " if is_terminal else "")
            except EOFError:
                return
            except KeyboardInterrupt:
                print("\n(Ctrl-D ends the command.)")
                continue
            if text:
                _print_completion(server, body, text)


def _print_completion(server: ModelServer, body: dict[str, Any], text: str) -> None:
    """Write the text and its continuation to stdout. Ctrl-C stops it."""
    print(printable(text), end="", flush=True)
    with closing(server.stream("/v1/completions", {**body, "prompt": text})) as chunks:
        try:
            for chunk in chunks:
                for choice in chunk.get("choices") or ():
                    print(printable(choice.get("text") or ""), end="", flush=True)
        except KeyboardInterrupt:
            print(" (stopped)", end="")
    print(flush=True)
