"""Reads a value as models write it, JSON, Python or Gemma's notation, and writes it as JSON.

The JSON is written while the value is read. What a client cannot parse is repaired where its
meaning is clear: control characters and unknown escapes in strings, and trailing commas.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from headrace.server.parsing.reader import Emit, MalformedError, Step, TextReader

MAX_DEPTH = 64
"""Levels of nested objects and arrays."""
MAX_WORD_LENGTH = 400
"""Characters of a number."""

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WORD = re.compile(r"[A-Za-z0-9_+.\-]*")
_KEY = re.compile(r"[A-Za-z0-9_.\-]*")
_HEX = "0123456789abcdefABCDEF"
_JSON_ESCAPES = '"\\/bfnrt'
_CLOSING = {"{": "}", "[": "]", "(": ")"}


@dataclass(frozen=True)
class Dialect:
    """How values are written."""

    quotes: tuple[str, ...]
    """What begins and ends a string."""
    words: Mapping[str, str]
    """JSON's constants by the words for them."""
    has_escapes: bool = True
    """A backslash in a string begins an escape."""
    has_bare_keys: bool = False
    """The keys of objects have no quotes."""
    has_tuples: bool = False


_WORDS = {"true": "true", "false": "false", "null": "null"}
JSON = Dialect(('"',), _WORDS)
PYTHON = Dialect(
    ('"', "'"), {**_WORDS, "True": "true", "False": "false", "None": "null"}, has_tuples=True
)
GEMMA4 = Dialect(('<|"|>', '"'), _WORDS, has_escapes=False, has_bare_keys=True)
FUNCTION_GEMMA = Dialect(("<escape>",), _WORDS, has_escapes=False, has_bare_keys=True)


def _run_up_to(quote: str) -> re.Pattern[str]:
    """Characters of a string that are written as they are."""
    return re.compile(rf'[^"\\\x00-\x1f{re.escape(quote[0])}]*')


_RUNS = {
    quote: _run_up_to(quote)
    for dialect in (JSON, PYTHON, GEMMA4, FUNCTION_GEMMA)
    for quote in dialect.quotes
}


class LiteralReader:
    """Reads values of one dialect. Raises MalformedError where a value is wrong or ends too
    early."""

    def __init__(self, reader: TextReader, dialect: Dialect) -> None:
        self._reader = reader
        self._dialect = dialect

    def value(self, emit: Emit, depth: int = 0) -> Step[None]:
        """Read the next value and the white space before it."""
        reader = self._reader
        yield from reader.space()
        quote = yield from reader.next_of(self._dialect.quotes)
        if quote is not None:
            yield from self._string(quote, emit)
            return
        char = yield from reader.peek()
        if depth == MAX_DEPTH:
            raise MalformedError
        if char and (char in "{[" or (char == "(" and self._dialect.has_tuples)):
            yield from self._items(char, emit, depth)
        else:
            yield from self._word(emit)

    def object(self, emit: Emit) -> Step[None]:
        """Read a value that must be an object."""
        yield from self._reader.space()
        if (yield from self._reader.peek()) != "{":
            raise MalformedError
        yield from self.value(emit)

    def text(self) -> Step[str]:
        """Read a value that must be a string; its text."""
        yield from self._reader.space()
        quote = yield from self._reader.next_of(self._dialect.quotes)
        if quote is None:
            raise MalformedError
        pieces: list[str] = []
        yield from self._string(quote, pieces.append)
        return str(json.loads("".join(pieces)))

    def _items(self, opening: str, emit: Emit, depth: int) -> Step[None]:
        reader = self._reader
        reader.skip(1)
        is_object = opening == "{"
        emit("{" if is_object else "[")
        closing = _CLOSING[opening]
        is_first = True
        while True:
            yield from reader.space()
            if (yield from reader.peek()) == closing:
                break
            if not is_first:
                emit(", ")
            is_first = False
            if is_object:
                yield from self._key(emit)
                emit(": ")
            yield from self.value(emit, depth + 1)
            yield from reader.space()
            after = yield from reader.peek()
            if after == ",":
                reader.skip(1)
            elif after != closing:
                raise MalformedError
        reader.skip(1)
        emit("}" if is_object else "]")

    def _key(self, emit: Emit) -> Step[None]:
        reader = self._reader
        quote = yield from reader.next_of(self._dialect.quotes)
        if quote is not None:
            yield from self._string(quote, emit)
        elif self._dialect.has_bare_keys:
            name = yield from reader.run(_KEY)
            if not name:
                raise MalformedError
            emit(json.dumps(name))
        else:
            raise MalformedError
        yield from reader.space()
        yield from reader.expect(":")

    def _word(self, emit: Emit) -> Step[None]:
        """A number or a constant. It is complete when another character follows."""
        word = yield from self._reader.peek_run(_WORD, MAX_WORD_LENGTH)
        written = self._dialect.words.get(word)
        if written is None and _NUMBER.fullmatch(word):
            written = word
        if written is None:
            raise MalformedError
        self._reader.skip(len(word))
        emit(written)

    def _string(self, quote: str, emit: Emit) -> Step[None]:
        reader = self._reader
        reader.skip(len(quote))
        emit('"')
        while True:
            yield from reader.copy(_RUNS[quote], emit)
            char = yield from reader.peek()
            if not char:
                raise MalformedError
            if (yield from reader.next_of((quote,))) is not None:
                break
            if char == "\\" and self._dialect.has_escapes:
                yield from self._escape(emit)
            else:
                reader.skip(1)
                emit(json.dumps(char, ensure_ascii=False)[1:-1])
        reader.skip(len(quote))
        emit('"')

    def _escape(self, emit: Emit) -> Step[None]:
        reader = self._reader
        reader.skip(1)
        char = yield from reader.peek()
        if char == "u" or (char == "x" and self._dialect.has_tuples):
            length = 4 if char == "u" else 2
            reader.skip(1)
            digits = ""
            while len(digits) < length:
                digit = yield from reader.peek()
                if not digit or digit not in _HEX:
                    break
                digits += digit
                reader.skip(1)
            if len(digits) == length:
                emit(f"\\u{digits:0>4}")
            else:
                emit(f"\\\\{char}{digits}")
        elif char and char in _JSON_ESCAPES:
            reader.skip(1)
            emit(f"\\{char}")
        elif char == "'" and self._dialect.has_tuples:
            reader.skip(1)
            emit("'")
        else:  # no escape of JSON's: the backslash itself is meant
            emit("\\\\")
