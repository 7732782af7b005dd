"""Reads rows of JSONL, JSON arrays, CSV and plain lines in UTF-8, optionally gzipped.

Errors name the file and the line, also for text that cannot be sent in a request (lone surrogates).
Of duplicate keys in one object, the last one is used.
"""

import csv
import gzip
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO, TypeVar

import msgspec

from headrace.bench.errors import WorkloadError

_MAX_CSV_FIELD_LEN = 10_000_000
"""Characters; the csv module's default is too low for news articles."""

_BEGINNING_LEN = 4_096
"""Characters from which the format of a file is detected."""

MAX_LEN = 10_000_000
"""Tokens of a prompt or an output, far above any context: a greater number is a mistake."""

NumTokens = Annotated[int, msgspec.Meta(ge=1, le=MAX_LEN)]
"""``max_tokens`` of a row."""

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
"""An escaped surrogate; unescaped ones do not occur in UTF-8."""

Fields = TypeVar("Fields")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file."""

    path: Path
    line: int
    """Its first line, from 1."""
    value: Any

    def error(self, what: str) -> WorkloadError:
        """An error with file and line."""
        return WorkloadError(f"{self.path}, line {self.line}: {what}")

    def read_as(self, fields: type[Fields]) -> Fields:
        """The value as a msgspec.Struct; raises WorkloadError."""
        try:
            return msgspec.convert(self.value, fields)
        except msgspec.ValidationError as error:
            raise self.error(f"{error}.") from None


def read_lines(path: Path) -> Iterator[Row]:
    """Non-blank lines, as text."""
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield Row(path, number, line.rstrip("\r\n"))


def read_json_lines(path: Path) -> Iterator[Row]:
    """One JSON value per line."""
    for row in read_lines(path):
        try:
            value = _DECODER.decode(row.value)
        except ValueError as error:
            raise row.error(
                f"Invalid JSON ({error}). A data set is one array, or one value per line."
            ) from None
        except RecursionError:
            raise row.error(_TOO_DEEP) from None
        yield _checked(Row(path, row.line, value), row.value)


def read_json_rows(path: Path, key: str | None = None) -> Iterator[Row]:
    """The elements of a JSON array, or one JSON value per line, as detected.

    With a key, also the elements of the array under it, if it is the first key of an object.
    """
    with open_text(path) as file:
        beginning = "".join(file.read(_BEGINNING_LEN).split())
    if beginning.startswith("["):
        return _read_json_array(path, "[")
    if key is not None and beginning.startswith(f'{{"{key}":['):
        return _read_json_array(path, f'"{key}"')
    return read_json_lines(path)


def read_csv_rows(path: Path) -> Iterator[Row]:
    """Rows of a CSV file with a header, as dicts."""
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_CSV_FIELD_LEN))
    with open_text(path, newline="") as file:
        reader = csv.DictReader(file, restval="")
        try:
            # This is the last line of the row.
            yield from (Row(path, reader.line_num, dict(values)) for values in reader)
        except csv.Error as error:
            raise WorkloadError(f"{path}, line {reader.line_num}: {error}.") from None


@contextmanager
def open_text(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    """The text of the file, decompressed if gzipped. Raises WorkloadError."""
    if path.exists() and not path.is_file():  # a pipe can be read only once
        raise WorkloadError(f"{path} cannot be read: it is no regular file.")
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8-sig", newline=newline)
            if path.suffix == ".gz"
            else open(path, encoding="utf-8-sig", newline=newline)
        ) as file:
            yield file
    except UnicodeDecodeError as error:
        line = _line_of_bad_text(path)
        raise WorkloadError(
            f"{path}, line {line}: This is no UTF-8 text: {error.reason}."
        ) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise WorkloadError(f"{path} is no whole gzip file: {error}.") from None
    except OSError as error:
        raise WorkloadError(f"{path} cannot be read: {error.strerror or error}.") from None


def _read_json_array(path: Path, opening: str) -> Iterator[Row]:
    """The first array from ``opening`` on.

    Each element is decoded by itself, so that a bad one is known by its line.
    """
    with open_text(path) as file:
        text = file.read()
    at = text.index("[", text.index(opening)) + 1
    line = 1
    counted = 0
    """Lines are counted in [0, counted)."""
    is_first = True
    while True:
        at = _skip_space(text, at)
        line += text.count("\n", counted, at)
        counted = at
        if text[at : at + 1] == "]":
            return
        if not is_first:
            if text[at : at + 1] != ",":
                raise WorkloadError(f"{path}, line {line}: A comma or the array's end is missing.")
            at = _skip_space(text, at + 1)
            line += text.count("\n", counted, at)
            counted = at
        is_first = False
        try:
            value, end = _DECODER.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise WorkloadError(
                f"{path}, line {error.lineno}: This is no JSON at column {error.colno}: "
                f"{error.msg.removesuffix(' starting at')}."
            ) from None
        except ValueError as error:
            raise WorkloadError(f"{path}, line {line}: Invalid JSON: {error}.") from None
        except RecursionError:
            raise WorkloadError(f"{path}, line {line}: {_TOO_DEEP}") from None
        yield _checked(Row(path, line, value), text, at, end)
        at = end


def _skip_space(text: str, at: int) -> int:
    while text[at : at + 1].isspace():
        at += 1
    return at


def _checked(row: Row, text: str, begin: int = 0, end: int | None = None) -> Row:
    """The row, whose JSON stands in ``text[begin:end]``; raises WorkloadError where a text of it
    cannot be sent."""
    if _SURROGATE.search(text, begin, len(text) if end is None else end):
        try:
            json.dumps(row.value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = error.object[error.start]
            raise row.error(
                f"It has half of a surrogate pair ({half!a}), which is no character."
            ) from None
    return row


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not valid JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_TOO_DEEP = "It is nested too deeply."


def _line_of_bad_text(path: Path) -> int:
    """The first line that is not UTF-8."""
    with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1  # the file has changed
