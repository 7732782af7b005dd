"""Outputs of each format of tool calls, written as its models write them."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headrace.server.parsing.events import Answer
from headrace.server.parsing.formats import reasoning_format, tool_format
from headrace.server.parsing.output_parser import OutputParser, OutputSyntax

Call = tuple[str, dict[str, Any]]
Write = Callable[[Sequence[Call]], str]

TOOLS: dict[str, dict[str, Any]] = {
    "get_weather": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    },
    "search": {"type": "object", "properties": {"filters": {"type": "object"}}},
}

SPECIAL = "<|im_end|>"
_GEMMA4_QUOTE = '<|"|>'


def _each(write: Callable[[str, str], str], between: str = "\n") -> Write:
    return lambda calls: between.join(write(name, json.dumps(values)) for name, values in calls)


def _json(name: str, arguments: str, key: str = "arguments") -> str:
    return f'{{"name": "{name}", "{key}": {arguments}}}'


def _deepseek(before: str, after: str, kind: str) -> Write:
    def write(calls: Sequence[Call]) -> str:
        body = "\n".join(
            f"<｜tool▁call▁begin｜>{kind}{name}{before}{json.dumps(values)}{after}"
            for name, values in calls
        )
        return f"<｜tool▁calls▁begin｜>{body}<｜tool▁calls▁end｜>"

    return write


def _kimi(calls: Sequence[Call]) -> str:
    body = "".join(
        f"<|tool_call_begin|>functions.{name}:{index}<|tool_call_argument_begin|>"
        f"{json.dumps(values)}<|tool_call_end|>"
        for index, (name, values) in enumerate(calls)
    )
    return f"<|tool_calls_section_begin|>{body}<|tool_calls_section_end|>"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _xml(
    around: tuple[str, str], call: tuple[str, str], parameter: tuple[str, str, str], between: str
) -> Write:
    def write_one(name: str, values: Mapping[str, Any]) -> str:
        parameters = [
            f"{parameter[0]}{key}{parameter[1]}{_text(value)}{parameter[2]}"
            for key, value in values.items()
        ]
        return between.join([f"{call[0]}{name}{call[1]}", *parameters, ""])

    def write(calls: Sequence[Call]) -> str:
        return "\n".join(
            f"{around[0]}{write_one(name, values)}{around[1]}" for name, values in calls
        )

    return write


def _python(value: Any) -> str:
    return repr(value)


def _pythonic(before: str, after: str) -> Write:
    def write(calls: Sequence[Call]) -> str:
        written = (
            f"{name}({', '.join(f'{key}={_python(value)}' for key, value in values.items())})"
            for name, values in calls
        )
        return f"{before}{', '.join(written)}{after}"

    return write


def _gemma(value: Any, quote: str) -> str:
    if isinstance(value, str):
        return f"{quote}{value}{quote}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{k}:{_gemma(v, quote)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_gemma(each, quote) for each in value) + "]"
    return json.dumps(value)


def _harmony(calls: Sequence[Call]) -> str:
    """gpt-oss ends its turn with a call."""
    return "".join(
        f"<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>"
        f"{json.dumps(values)}<|call|>"
        for name, values in calls
    )


WRITERS: dict[str, Write] = {
    "hermes": _each(lambda name, values: f"<tool_call>\n{_json(name, values)}\n</tool_call>"),
    "qwen3_coder": _xml(
        ("<tool_call>\n", "</function>\n</tool_call>"),
        ("<function=", ">"),
        ("<parameter=", ">\n", "\n</parameter>"),
        "\n",
    ),
    "seed_oss": _xml(
        ("<seed:tool_call>\n", "</function>\n</seed:tool_call>"),
        ("<function=", ">"),
        ("<parameter=", ">", "</parameter>"),
        "\n",
    ),
    "minimax_m2": _xml(
        ("<minimax:tool_call>\n", "</invoke>\n</minimax:tool_call>"),
        ('<invoke name="', '">'),
        ('<parameter name="', '">', "</parameter>"),
        "\n",
    ),
    "glm45": _xml(
        ("<tool_call>", "</tool_call>"),
        ("", ""),
        ("<arg_key>", "</arg_key>\n<arg_value>", "</arg_value>"),
        "\n",
    ),
    "llama3_json": _each(lambda name, values: _json(name, values, "parameters"), "; "),
    "json": lambda calls: (
        "[" + ", ".join(_json(name, json.dumps(values)) for name, values in calls) + "]"
    ),
    "pythonic": _pythonic("[", "]"),
    "gemma": _pythonic("```tool_code\n", "\n```"),
    "mistral": _each(lambda name, values: f"[TOOL_CALLS]{name}[ARGS]{values}", ""),
    "deepseek_v3": _deepseek("\n```json\n", "\n```<｜tool▁call▁end｜>", "function<｜tool▁sep｜>"),
    "deepseek_v31": _deepseek("<｜tool▁sep｜>", "<｜tool▁call▁end｜>", ""),
    "kimi_k2": _kimi,
    "openai": _harmony,
    "functiongemma": lambda calls: "".join(
        f"<start_function_call>call:{name}{_gemma(values, '<escape>')}<end_function_call>"
        for name, values in calls
    ),
    "gemma4": lambda calls: "".join(
        f"<|tool_call>call:{name}{_gemma(values, _GEMMA4_QUOTE)}<tool_call|>"
        for name, values in calls
    ),
    "granite": lambda calls: (
        "<|tool_call|>["
        + ", ".join(_json(name, json.dumps(values)) for name, values in calls)
        + "]"
    ),
    "phi4_mini_json": lambda calls: (
        "<|tool_call|>["
        + ", ".join(_json(name, json.dumps(values)) for name, values in calls)
        + "]<|/tool_call|>"
    ),
    "jamba": lambda calls: (
        "<tool_calls>["
        + ", ".join(_json(name, json.dumps(values)) for name, values in calls)
        + "]</tool_calls>"
    ),
    "internlm": _each(
        lambda name, values: (
            "<|action_start|><|plugin|>" + _json(name, values, "parameters") + "<|action_end|>"
        )
    ),
}
"""By format: writes calls as its models do."""


def syntax(name: str, reasoning: str | None = None) -> OutputSyntax:
    return OutputSyntax(
        tool_format(name),
        None if reasoning is None else reasoning_format(reasoning),
        frozenset({SPECIAL}),
    )


def parse(syntax: OutputSyntax, pieces: Sequence[str], **options: Any) -> Answer:
    """The answer of an output that arrives in these pieces; ids are numbers."""
    numbers = itertools.count()
    options = {"tools": TOOLS, **options}
    parser = OutputParser(syntax, new_id=lambda: str(next(numbers)), **options)
    answer = Answer()
    for piece in pieces:
        answer.add(parser.push(piece))
    answer.add(parser.finish())
    return answer
