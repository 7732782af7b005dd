"""Text that arrives in chunks, read by generators that are suspended while they need more of it.

What a reader returns depends on the text alone, never on how it is divided into chunks: a decision
that further text could change is taken when that text is there, or at the end.
"""

import re
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")
Step = Generator[None, None, T]
"""Suspended wherever it needs more text; returns T."""

Emit = Callable[[str], None]

_SPACE = re.compile(r"\s*")


class MalformedError(Exception):
    """The text is not what the format says. The reader is at the first character that is not."""


class Markers:
    """Texts to search for. Of two at the same position, the longer one is found."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = frozenset(filter(None, texts))
        longest_first = sorted(self.texts, key=lambda text: (-len(text), text))
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._prefixes = frozenset(
            text[:length] for text in self.texts for length in range(1, len(text))
        )
        self._first = frozenset(text[0] for text in self.texts)
        self._max_length = max(map(len, self.texts), default=0)

    def find(self, text: str, at: int, is_whole: bool) -> tuple[int, int]:
        """[begin, end) of the first marker from ``at`` on. If there is none, both are the position
        up to which the text holds no part of a marker; is_whole: no more text follows."""
        found = self._pattern.search(text, at)
        end = len(text) if found is None else found.start()
        if not is_whole:
            for begin in range(max(at, len(text) - self._max_length + 1), min(end + 1, len(text))):
                if text[begin] in self._first and text[begin:] in self._prefixes:
                    return begin, begin
        return (end, end) if found is None else found.span()


class TextReader:
    """The text so far, and the position up to which it is read."""

    def __init__(self) -> None:
        self._text = ""
        self._at = 0
        self._held: int | None = None
        self._is_closed = False

    def push(self, text: str) -> None:
        """More text."""
        keep = self._at if self._held is None else self._held
        self._text = self._text[keep:] + text
        self._at -= keep
        self._held = None if self._held is None else 0

    def close(self) -> None:
        """There is no more text."""
        self._is_closed = True

    def hold(self, num_before: int = 0) -> None:
        """Keep the text from here on, and the num_before characters before; or from where it is
        kept already."""
        if self._held is None:
            self._held = self._at - num_before

    def release(self) -> str:
        """The text since ``hold``, which is kept no longer."""
        begin = self._at if self._held is None else self._held
        self._held = None
        return self._text[begin : self._at]

    def peek(self) -> Step[str]:
        """The next character; an empty string at the end."""
        while self._at == len(self._text):
            if self._is_closed:
                return ""
            yield
        return self._text[self._at]

    def skip(self, length: int) -> None:
        """Read that many characters, which were looked at."""
        self._at += length

    def space(self) -> Step[str]:
        """White space, which is read."""
        return (yield from self.run(_SPACE))

    def run(self, pattern: re.Pattern[str]) -> Step[str]:
        """The longest run of characters, which is read. pattern: of a class of single characters,
        repeated from zero times on."""
        pieces: list[str] = []
        while True:
            found = pattern.match(self._text, self._at)
            assert found is not None
            pieces.append(found[0])
            self._at = found.end()
            if self._at < len(self._text) or self._is_closed:
                return "".join(pieces)
            yield

    def peek_run(self, pattern: re.Pattern[str], max_length: int) -> Step[str]:
        """The longest run, which is not read; raises MalformedError if it is longer than that or
        if the text ends within it."""
        while True:
            found = pattern.match(self._text, self._at)
            assert found is not None
            if len(found[0]) > max_length:
                raise MalformedError
            if found.end() < len(self._text):
                return found[0]
            if self._is_closed:
                raise MalformedError
            yield

    def next_of(self, options: Sequence[str]) -> Step[str | None]:
        """Which of these texts, the longest, comes next; it is not read."""
        while True:
            rest = self._text[self._at :][: max(map(len, options), default=0)]
            is_open = any(len(each) > len(rest) and each.startswith(rest) for each in options)
            if not is_open or self._is_closed:
                return max(filter(rest.startswith, options), key=len, default=None)
            yield

    def copy(self, pattern: re.Pattern[str], emit: Emit) -> Step[None]:
        """Read a run as ``run`` does, each piece as it arrives."""
        while True:
            found = pattern.match(self._text, self._at)
            assert found is not None
            emit(found[0])
            self._at = found.end()
            if self._at < len(self._text) or self._is_closed:
                return
            yield

    def copy_until(self, markers: Markers, emit: Emit) -> Step[str | None]:
        """Read up to the first marker, which is read too and returned; None at the end."""
        while True:
            begin, end = markers.find(self._text, self._at, self._is_closed)
            emit(self._text[self._at : begin])
            self._at = end
            if begin < end:
                return self._text[begin:end]
            if self._is_closed:
                return None
            yield

    def expect(self, text: str) -> Step[None]:
        """Read this text; raises MalformedError if another comes next."""
        if (yield from self.next_of((text,))) is None:
            raise MalformedError
        self._at += len(text)
