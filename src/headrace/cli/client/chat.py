"""``headrace chat``: a chat with a model in the terminal."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from headrace.cli.client.server import (
    KeyOption,
    UrlOption,
    choose_model,
    open_server,
    printable,
)
from headrace.cli.errors import report_errors
from headrace.cli.options import DEFAULT_MODEL
from headrace.core.errors import HeadraceError
from headrace.core.options import Bounds
from headrace.model_client.conversation import Conversation
from headrace.model_client.model_server import ModelServer

_SETTINGS: dict[str, type[float] | type[int]] = {
    "temperature": float,
    "top_p": float,
    "top_k": int,
    "min_p": float,
    "max_tokens": int,
    "presence_penalty": float,
    "frequency_penalty": float,
    "repetition_penalty": float,
    "seed": int,
}

ModelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help=f"Model to serve (default: {DEFAULT_MODEL}); with --url, its name there (default: the "
        "first).",
        show_default=False,
    ),
]
TemperatureOption = Annotated[
    float | None,
    typer.Option(help="Sampling temperature.", show_default="the model's"),
    Bounds(ge=0, le=100.0),
]
MaxTokensOption = Annotated[
    int | None,
    typer.Option(help="Maximum number of tokens of an answer.", show_default="the context"),
    Bounds(ge=1, le=2**31 - 1),
]
SeedOption = Annotated[
    int | None,
    typer.Option(help="Seed of the random numbers.", show_default="random"),
    Bounds(ge=-(2**63), le=2**63 - 1),
]
ServeOptions = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[-- SERVE_OPTIONS]",
        help="Options of the server that is started, such as -- --max-model-len 4096.",
        show_default=False,
    ),
]


def chat(
    model: ModelArgument = None,
    serve_options: ServeOptions = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    system: Annotated[
        str | None, typer.Option("--system", "--system-prompt", help="System prompt.")
    ] = None,
    quick: Annotated[
        str | None,
        typer.Option("--quick", "-q", metavar="TEXT", help="Print the answer to this, and exit."),
    ] = None,
    temperature: TemperatureOption = None,
    max_tokens: MaxTokensOption = None,
    seed: SeedOption = None,
) -> None:
    """Chat with a model in the terminal. Enter /help for its commands.

    Without a terminal, each line of stdin is a question.
    """
    given = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    parameters = {name: value for name, value in given.items() if value is not None}
    with (
        report_errors(),
        open_server(model, url, api_key, serve_options or ()) as address,
        ModelServer(address) as server,
    ):
        name = choose_model(server, model, is_local=url is None)
        conversation = Conversation(server, name, parameters, system)
        if quick is not None:
            _print_answer(conversation, quick)
            return
        _Chat(conversation).run()


class _Chat:
    """Reads questions and commands until the end of input."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
        self._commands: dict[str, _Command] = {
            "/help": _Command("", "list the commands", self._help),
            "/clear": _Command("", "start a new conversation", self._clear),
            "/retry": _Command("", "answer the last question again", self._retry),
            "/system": _Command("[TEXT]", "show or set the system prompt", self._system),
            "/set": _Command("[NAME VALUE]", "show or set sampling parameters", self._set),
            "/stats": _Command("", "tokens and speed of the last answer", self._stats),
            "/save": _Command("FILE", "write the conversation as JSON", self._save),
            "/exit": _Command("", "end the chat (or Ctrl-D)", self._exit),
        }

    def run(self) -> None:
        if self._is_terminal:
            _use_line_editing()
            print(f"Chat with {self._conversation.model}. /help lists the commands.")
        while True:
            try:
                line = self._read()
            except EOFError:
                return
            except KeyboardInterrupt:
                print("\n(Ctrl-D or /exit ends the chat.)")
                continue
            try:
                self._handle(line)
            except EOFError:
                return
            except (HeadraceError, OSError) as error:
                if not self._is_terminal:
                    raise
                print(f"Error: {error}", file=sys.stderr)

    def _read(self) -> str:
        """A question; lines that end in a backslash continue."""
        prompt = "> " if self._is_terminal else ""
        line = input(prompt)
        while line.endswith("\\"):
            line = line[:-1] + "\n" + input("  " if self._is_terminal else "")
        return line.strip()

    def _handle(self, line: str) -> None:
        if not line:
            return
        if not line.startswith("/") or not self._is_terminal:
            _print_answer(self._conversation, line)
            return
        name, _, argument = line.partition(" ")
        command = self._commands.get(name)
        if command is None:
            print(f"Unknown command {name}. /help lists the commands.")
        else:
            command.run(argument.strip())

    def _help(self, _: str) -> None:
        for name, command in self._commands.items():
            print(f"  {name + ' ' + command.argument:22}{command.help}")
        print("  Ctrl-C stops an answer. A line that ends in \\ continues on the next one.")

    def _clear(self, _: str) -> None:
        self._conversation.messages.clear()

    def _retry(self, _: str) -> None:
        question = self._conversation.take_back()
        if question is None:
            print("There is no question yet.")
        else:
            _print_answer(self._conversation, question)

    def _system(self, text: str) -> None:
        if text:
            self._conversation.system = text
        else:
            print(self._conversation.system or "There is no system prompt.")

    def _set(self, argument: str) -> None:
        parameters = self._conversation.parameters
        name, _, value = argument.replace("-", "_", 1).partition(" ")
        if not argument:
            for each in _SETTINGS:
                print(f"  {each} {parameters.get(each, 'default')}")
            return
        kind = _SETTINGS.get(name)
        if kind is None:
            print(f"Unknown parameter {name}. Known: {', '.join(_SETTINGS)}.")
            return
        if value in ("", "default"):
            parameters.pop(name, None)
            return
        try:
            parameters[name] = kind(value)
        except ValueError:
            print(f"{name} must be a number.")

    def _stats(self, _: str) -> None:
        stats = self._conversation.last_stats
        print(
            f"{stats.num_prompt_tokens} prompt tokens, {stats.num_output_tokens} output tokens, "
            f"first token after {stats.first_token_s:.2f} s, {stats.tokens_per_s:.1f} tokens/s, "
            f"finish reason {stats.finish_reason}"
        )

    def _save(self, file: str) -> None:
        if not file:
            print("Name a file: /save FILE")
            return
        Path(file).expanduser().write_text(self._conversation.to_json(), encoding="utf-8")
        print(f"Saved to {file}.")

    def _exit(self, _: str) -> None:
        raise EOFError


@dataclass(frozen=True)
class _Command:
    argument: str
    help: str
    run: Callable[[str], None]


def _print_answer(conversation: Conversation, question: str) -> None:
    """Stream the answer to stdout. Ctrl-C stops it."""
    console = Console(highlight=False, soft_wrap=True)
    pieces = conversation.ask(question)
    was_reasoning = False
    try:
        for piece in pieces:
            is_reasoning = piece.kind == "reasoning"
            if was_reasoning and not is_reasoning:
                console.print()
            was_reasoning = is_reasoning
            _write(console, piece.text, style="dim" if is_reasoning else "")
    except KeyboardInterrupt:
        _write(console, " (stopped)", style="dim")
    finally:
        pieces.close()
        print(flush=True)
    if conversation.last_stats.finish_reason == "length":
        print("(The answer reached the maximum number of tokens.)", file=sys.stderr)


def _write(console: Console, text: str, style: str) -> None:
    console.print(Text(printable(text), style=style), end="")
    sys.stdout.flush()


def _use_line_editing() -> None:
    try:
        import readline  # noqa: F401  (input() uses it)
    except ImportError:  # not on Windows
        return
