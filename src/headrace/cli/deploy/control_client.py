"""The client, options and helpers that all commands of the control plane share."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from headrace.cli.errors import report_errors
from headrace.core.errors import InvalidInputError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from headrace.control.client import ControlClient

MAX_NUMBER = 999_999
"""As in a gateway's manifest."""
MAX_NUM_LINES = 2**31 - 1
"""The maximum of the control plane's API."""

ServiceOption = Annotated[
    str,
    typer.Option(
        "--service", "--serving", "-s", metavar="NAME", help="Service name.", show_default=False
    ),
]
FileOption = Annotated[
    Path,
    typer.Option(
        "--file", "-f", metavar="FILE", help="YAML manifest; - for stdin.", show_default=False
    ),
]
NumberOption = Annotated[
    int,
    typer.Option(
        "--number",
        "-n",
        metavar="NUMBER",
        min=1,
        max=MAX_NUMBER,
        help="Revision number.",
        show_default=False,
    ),
]
LimitOption = Annotated[
    int,
    typer.Option(
        "--limit",
        metavar="N",
        min=1,
        max=MAX_NUMBER,
        help="Maximum number of entries (newest first).",
    ),
]
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Follow the log.")]
LinesOption = Annotated[
    int | None,
    typer.Option(
        "--lines",
        metavar="N",
        min=0,
        max=MAX_NUM_LINES,
        help="Show the last N lines (default: all).",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def connected() -> Iterator["ControlClient"]:
    """A client for the control plane. Errors are printed on stderr, with exit code 1.

    Each problem of a manifest is a line of its own.
    """
    from headrace.control.client import ControlClient, find_credentials
    from headrace.control.errors import ControlApiError
    from headrace.control.layout import Layout
    from headrace.core.home import headrace_home

    with report_errors():
        try:
            with ControlClient(find_credentials(Layout(headrace_home()))) as client:
                yield client
        except ControlApiError as error:
            for line in str(error).splitlines():
                print(f"Error: {line}", file=sys.stderr)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


class ManifestFile(NamedTuple):
    """A manifest as it is sent."""

    text: str
    file: str
    """As on the command line, for messages."""
    folder: str
    """The base of its relative paths."""


def read_manifest(file: Path) -> ManifestFile:
    """A manifest from its file. Raises InvalidInputError if it cannot be read."""
    is_stdin = str(file) == "-"
    try:
        content = sys.stdin.buffer.read() if is_stdin else file.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{file}: {error.strerror}") from None
    name = "stdin" if is_stdin else _sendable(file)
    folder = Path.cwd() if is_stdin else file.absolute().parent
    return ManifestFile(decode(content, name), name, _sendable(folder))


def decode(content: bytes, name: str) -> str:
    """Decode UTF-8. Raises InvalidInputError if it is invalid."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise InvalidInputError(f"{name}: not valid UTF-8") from None


def _sendable(path: Path) -> str:
    """Replace undecodable bytes of a path."""
    return str(path).encode(errors="replace").decode()


def print_json(views: "BaseModel | Sequence[BaseModel]") -> None:
    """Print one JSON document on stdout."""
    if isinstance(views, Sequence):
        print(json.dumps([view.model_dump(mode="json") for view in views], indent=2))
    else:
        print(json.dumps(views.model_dump(mode="json"), indent=2))


def write_log(pieces: Iterator[bytes]) -> int:
    """Write to stdout as pieces arrive; returns the number of bytes."""
    num_bytes = 0
    for piece in pieces:
        num_bytes += len(piece)
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    return num_bytes
