"""Grammars that make a model's tool calls match their schemas, in llguidance's Lark syntax.

Calls whose arguments are JSON are constrained in the model's own format. In the other formats, a
constrained call is JSON between the format's markers, which every parser here understands.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.core.generation.grammar import Grammar
from headrace.server.parsing.literals import JSON
from headrace.server.parsing.output_parser import OutputSyntax
from headrace.server.parsing.tool_format import Field, ToolFormat

MAX_PARALLEL_CALLS = 16
"""Of one answer whose calls are constrained."""
_LAYOUT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""As Python's json.dumps writes it, and most chat templates. Free white space would let a model
write it without end."""
_ANY_OBJECT = {"type": "object"}


@dataclass(frozen=True)
class CallableTool:
    """A tool as a grammar needs it."""

    name: str
    schema: Mapping[str, Any]
    is_constrained: bool = True
    """Whether the arguments must match the schema; else any JSON object will do."""

    @property
    def constraint(self) -> Mapping[str, Any]:
        return self.schema if self.is_constrained else _ANY_OBJECT


@dataclass(frozen=True)
class GrammarTokens:
    """The tokens of a model that a grammar names by their ids, because no text stands for them."""

    ids: Mapping[str, int]
    """Of the added tokens, by their texts."""
    end_ids: frozenset[int] = frozenset()
    """They end the output, so that they are no part of it."""
    _pattern: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        longest_first = sorted(filter(None, self.ids), key=lambda text: (-len(text), text))
        pattern = "|".join(map(re.escape, longest_first)) or r"(?!)"
        object.__setattr__(self, "_pattern", re.compile(f"({pattern})"))

    def lark(self, text: str) -> str:
        """A text as a sequence of tokens and of strings."""
        pieces = filter(None, self._pattern.split(text))
        return " ".join(
            f"<[{self.ids[piece]}]>" if piece in self.ids else json.dumps(piece, ensure_ascii=False)
            for piece in pieces
        )

    def others(self, excluded: Iterable[str]) -> str | None:
        """Any added token but these and those that end the output."""
        left_out = {self.ids.get(text) for text in excluded} | self.end_ids
        ids = sorted(set(self.ids.values()) - left_out)
        return f"<[{','.join(map(str, ids))}]>" if ids else None


def required_calls(
    syntax: OutputSyntax,
    tools: Sequence[CallableTool],
    tokens: GrammarTokens,
    *,
    max_calls: int,
    starts_in_reasoning: bool,
) -> Grammar:
    """The output is one or more calls, after a reasoning block if there is one."""
    assert syntax.calls is not None
    writer = _Writer(syntax.calls, tools, tokens, max_calls)
    rules = [f"start: {writer.reasoning(syntax, starts_in_reasoning)} {writer.calls('')}"]
    return _grammar(rules, writer)


def strict_calls(
    syntax: OutputSyntax,
    tools: Sequence[CallableTool],
    tokens: GrammarTokens,
    *,
    max_calls: int,
    starts_in_reasoning: bool,
) -> Grammar:
    """The output is free up to where a call begins; calls match their schemas."""
    tool_format = syntax.calls
    assert tool_format is not None
    writer = _Writer(tool_format, tools, tokens, max_calls)
    repeat = "*" if max_calls > 1 else "?"
    begins = ("to=functions.",) if tool_format.is_harmony else tool_format.begins
    rules = []
    groups = []
    for index, begin in enumerate(begins):
        calls = writer.harmony_call() if tool_format.is_harmony else writer.calls(begin)
        if begin in tokens.ids:
            groups.append(f"text {tokens.lark(begin)} {calls}")
        else:
            rules.append(f"begin_{index}[lazy]: /(.|\\n)*{_escape(begin)}/")
            groups.append(f"text begin_{index} {calls}")
    free = f"({' | '.join(f'({each})' for each in groups)}){repeat} text" if groups else "text"
    if tool_format.may_be_bare:
        rules += [
            f"start: {writer.reasoning(syntax, starts_in_reasoning)} "
            f"({writer.calls('')} | (OTHER {free})?)",
            r"OTHER: /[^\s{\[]/",
        ]
    else:
        rules.append(f"start: {free}")
    others = tokens.others(begins)
    rules += [f"text: (TEXT{'' if others is None else f' | {others}'})*", r"TEXT: /(.|\n)+/"]
    return _grammar(rules, writer)


def _grammar(rules: list[str], writer: "_Writer") -> Grammar:
    return Grammar("tool_calls", "\n".join(["%llguidance {}", *rules, *writer.rules, ""]))


def constrained_schema(schema: Mapping[str, Any]) -> str:
    """The schema as the grammars have it."""
    return json.dumps({**schema, "x-guidance": _LAYOUT})


class _Writer:
    """Writes the rules of the calls."""

    def __init__(
        self,
        tool_format: ToolFormat,
        tools: Sequence[CallableTool],
        tokens: GrammarTokens,
        max_calls: int,
    ) -> None:
        self._format = tool_format
        self._tools = tools
        self._tokens = tokens
        self._max_calls = 1 if tool_format.is_harmony else max_calls
        self.rules = [
            f"arguments_{index}: %json {constrained_schema(tool.constraint)}"
            for index, tool in enumerate(tools)
        ]

    def reasoning(self, syntax: OutputSyntax, starts_in_reasoning: bool) -> str:
        """An optional block; the rest of one if the prompt opened it."""
        if self._format.is_harmony:
            block = ("<|channel|>analysis<|message|>", "<|end|>", "<|start|>assistant")
        elif syntax.reasoning is None:
            return ""
        else:
            block = (syntax.reasoning.begin, syntax.reasoning.end, "")
        begin, end, after = block
        if end in self._tokens.ids:
            self.rules += [r"THOUGHT: /(.|\n)+/"]
            rest = f"THOUGHT? {self._tokens.lark(end)}"
        else:
            self.rules += [f"thought[lazy]: /(.|\\n)*{_escape(end)}/"]
            rest = "thought"
        self.rules += [r"SPACE: /\s{1,4}/"]
        rest = f"{rest} {self._tokens.lark(after)} SPACE?" if after else f"{rest} SPACE?"
        return rest if starts_in_reasoning else f"({self._tokens.lark(begin)} {rest})?"

    def calls(self, begun: str) -> str:
        """One or more calls. begun: their begin, if it is written already."""
        group_begin, group_end, separator = self._group()
        calls = self._call(begun if not group_begin else "")
        num_more = self._max_calls - 1
        if num_more and (group_begin or not begun):
            calls += f" ({self._tokens.lark(separator)} {self._call('')}){{0,{num_more}}}"
        begin = "" if begun else self._tokens.lark(group_begin)
        return f"{begin} {calls} {self._tokens.lark(group_end)}"

    def harmony_call(self) -> str:
        """A call after ``to=functions.``."""
        lark = self._tokens.lark
        channel = f"({lark('<|channel|>commentary')})?"
        kind = f'" "? ({lark("<|constrain|>")}? "json")? {lark("<|message|>")}'
        calls = (
            f"{lark(tool.name)} {channel} {kind} arguments_{index}"
            for index, tool in enumerate(self._tools)
        )
        return f"({' | '.join(calls)})"

    def _group(self) -> tuple[str, str, str]:
        """Begin and end of a group of calls, and what separates two calls."""
        if self._has_own_json:
            begin, end = self._format.section
            return (begin, end, "") if begin else ("", "", "; " if self._is_bare else "\n")
        return "", "", "; " if self._is_bare else "\n"

    @property
    def _is_bare(self) -> bool:
        return not isinstance(self._format.call_parts[0], str) and not self._format.section[0]

    @property
    def _has_own_json(self) -> bool:
        """Whether the format itself writes arguments as JSON."""
        parts = self._format.call_parts
        return Field("call") in parts or (
            Field("arguments") in parts and self._format.dialect is JSON
        )

    def _call(self, begun: str) -> str:
        template = self._template()
        template = template.removeprefix(begun)
        calls = (self._call_of(template, index) for index in range(len(self._tools)))
        return f"({' | '.join(calls)})"

    def _template(self) -> str:
        """The template of a call in which JSON is written."""
        if self._has_own_json:
            return self._format.call.removesuffix("<|call|>")
        if self._is_bare:
            return "{call}"
        begin, closings = self._format.begins[0], self._format.closings
        return f"{begin}\n{{call}}\n{closings[-1]}"

    def _call_of(self, template: str, index: int) -> str:
        tool, lark = self._tools[index], self._tokens.lark
        if "{call}" in template:
            before, after = template.split("{call}")
            before += f'{{"name": {json.dumps(tool.name)}, "{self._format.arguments_key}": '
            return f"{lark(before)} arguments_{index} {lark('}' + after)}"
        name = self._format.written_name.replace("{name}", tool.name)
        before, after = (
            template.replace("{kind}", "function").replace("{name}", name).split("{arguments}")
        )
        written = " /[0-9]{1,2}/ ".join(lark(piece) for piece in before.split("{index}"))
        return f"{written} arguments_{index} {lark(after)}"


def _escape(text: str) -> str:
    """The text in a regular expression of Lark's."""
    return re.sub(r"([\\.^$|?*+()\[\]{}/])", r"\\\1", text).replace("\n", r"\n")
