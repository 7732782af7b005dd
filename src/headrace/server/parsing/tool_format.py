"""What describes a format of tool calls and a format of reasoning."""

import re
from dataclasses import dataclass
from typing import Literal

from headrace.server.parsing.literals import JSON, Dialect

FieldKind = Literal["name", "kind", "arguments", "parameters", "key", "value", "call", "python"]
_FIELD = re.compile(r"\{(name|kind|arguments|parameters|key|value|call|python)\}")
_NEW_LINE_VALUE = "\n{value}\n"


@dataclass(frozen=True, slots=True)
class Field:
    """A part of a call that the model fills in."""

    kind: FieldKind


Part = str | Field
"""A literal text without white space at its ends, or a field."""


def parse_template(template: str) -> tuple[Part, ...]:
    """The parts of a template. White space between them may be any, or none."""
    parts: list[Part] = []
    for index, piece in enumerate(_FIELD.split(template)):
        if index % 2:
            parts.append(Field(piece))  # type: ignore[arg-type]
        else:
            parts += piece.split()
    return tuple(parts)


@dataclass(frozen=True)
class ToolFormat:
    """How a family of models writes tool calls.

    Templates are the text of a call with fields: {name}; {kind}, which is ignored; {arguments}, an
    object in ``dialect``; {parameters}, any number of ``parameter``; {call}, one or more JSON
    objects with name and arguments; {python}, one or more calls in Python's syntax.
    """

    name: str
    call: str
    """Template of one call."""
    section: tuple[str, str] = ("", "")
    """What begins and ends a group of calls, if they are grouped."""
    parameter: str = ""
    """Template of one of the {parameters}, with {key} and {value}."""
    dialect: Dialect = JSON
    also_begins: tuple[str, ...] = ()
    """Further texts that begin a call."""
    may_be_bare: bool = False
    """A call may also be the beginning of the answer, with nothing before it. It must then name one
    of the request's tools."""
    header: str = r"(?P<name>.+)"
    """Pattern of the text of {name}; a group ``id`` is the call's id."""
    written_name: str = "{name}"
    """How a constrained call writes {name}; {index} is a number."""
    arguments_key: str = "arguments"
    """The key of the arguments in a constrained call in JSON; ``arguments`` and ``parameters`` are
    both read."""
    is_harmony: bool = False
    """Calls, reasoning and content are messages with channels (gpt-oss)."""
    call_id_length: int | None = None
    """Ids have this many letters and digits, because the model's template requires it."""
    signs: tuple[str, ...] = ()
    """Texts that a chat template of this format has, all of them."""
    aliases: tuple[str, ...] = ()
    """Further names for ``--tool-call-parser``."""

    @property
    def call_parts(self) -> tuple[Part, ...]:
        return parse_template(self.call)

    @property
    def parameter_parts(self) -> tuple[Part, ...]:
        return parse_template(self.parameter)

    @property
    def has_lines(self) -> bool:
        """A parameter's value has lines of its own: the line breaks around it are not part of
        it."""
        return _NEW_LINE_VALUE in self.parameter

    @property
    def begins(self) -> tuple[str, ...]:
        """The texts that begin a call or a group of calls."""
        first = self.section[0] or self.call_parts[0]
        return (*((first,) if isinstance(first, str) else ()), *self.also_begins)

    @property
    def closings(self) -> tuple[str, ...]:
        """The texts that may end a call or a group, in any number."""
        last: list[str] = []
        for part in reversed(self.call_parts):
            if not isinstance(part, str):
                break
            last.append(part)
        return tuple(filter(None, (*last, self.section[1])))


@dataclass(frozen=True)
class ReasoningFormat:
    """How a family of models marks its reasoning."""

    name: str
    begin: str
    end: str
    signs: tuple[str, ...] = ()
    """Texts of which a chat template of this format has one or more."""
    aliases: tuple[str, ...] = ()
    """Further names for ``--reasoning-parser``."""
