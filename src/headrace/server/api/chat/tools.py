"""What a chat request asks of tools: which are offered, which must be called, and by which grammar.

Constrained are required and named calls, and the calls of tools with ``strict: true``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from headrace.core.generation.grammar import Grammar
from headrace.server.api.chat.closed_schema import closed_schema
from headrace.server.api.schemas.requests import ChatCompletionRequest
from headrace.server.api.schemas.tools import Tool, ToolChoiceObject
from headrace.server.http.json_body import JsonObject
from headrace.server.parsing.call_grammar import (
    MAX_PARALLEL_CALLS,
    CallableTool,
    constrained_schema,
    required_calls,
    strict_calls,
)
from headrace.server.parsing.formats import DEFAULT_TOOL_FORMAT
from headrace.server.parsing.model_formats import ModelFormats
from headrace.server.parsing.output_parser import OutputSyntax
from headrace.server.parsing.parameter_values import ToolSchemas

CallMode = Literal["none", "auto", "required"]


@dataclass(frozen=True)
class ToolPlan:
    """The tools of one request."""

    mode: CallMode
    offered: Sequence[Tool]
    """The prompt describes them."""
    callable: Sequence[Tool]
    """Of these, those that may be called."""
    max_calls: int | None
    """Of one answer; None for any number."""

    @property
    def schemas(self) -> ToolSchemas:
        return {tool.function.name: tool.function.schema_of_parameters for tool in self.callable}

    @property
    def is_constrained(self) -> bool:
        if self.mode == "auto":
            return any(tool.function.strict for tool in self.callable)
        return self.mode == "required"

    def for_template(self) -> list[JsonObject] | None:
        """The tools as chat templates read them."""
        if not self.offered:
            return None
        return [_for_template(tool) for tool in self.offered]

    def syntax(self, formats: ModelFormats) -> OutputSyntax:
        """What to look for in the outputs."""
        syntax = formats.syntax(with_calls=self.mode != "none")
        if self.mode == "required" and syntax.calls is None:  # --tool-call-parser none
            return OutputSyntax(DEFAULT_TOOL_FORMAT, syntax.reasoning, syntax.special_texts)
        return syntax

    def schema_checks(self, all_tools: Sequence[Tool]) -> list[Grammar]:
        """Grammars that are valid if the schemas can be constrained; errors name the tool."""
        positions = {tool.function.name: index for index, tool in enumerate(all_tools)}
        return [
            Grammar(
                "json_schema",
                constrained_schema(closed_schema(tool.function.schema_of_parameters)),
                param=f"tools[{positions[tool.function.name]}].function.parameters",
            )
            for tool in self.callable
            if self.mode == "required" or tool.function.strict
        ]

    def grammar(
        self, syntax: OutputSyntax, formats: ModelFormats, *, starts_in_reasoning: bool
    ) -> Grammar:
        """What the output must match; only if ``is_constrained``."""
        write = required_calls if self.mode == "required" else strict_calls
        tools = [
            CallableTool(
                tool.function.name,
                closed_schema(tool.function.schema_of_parameters),
                is_constrained=self.mode == "required" or bool(tool.function.strict),
            )
            for tool in self.callable
        ]
        return write(
            syntax,
            tools,
            formats.grammar_tokens,
            max_calls=self.max_calls or MAX_PARALLEL_CALLS,
            starts_in_reasoning=starts_in_reasoning,
        )


def plan_tools(body: ChatCompletionRequest) -> ToolPlan:
    """The plan for a request whose tools were checked."""
    tools = body.tools or []
    choice = body.tool_choice
    max_calls = 1 if body.parallel_tool_calls is False else None
    if not tools or choice == "none":
        return ToolPlan("none", [], [], max_calls)
    if isinstance(choice, ToolChoiceObject):
        return _chosen(choice, tools, max_calls)
    return ToolPlan("required" if choice == "required" else "auto", tools, tools, max_calls)


def _chosen(choice: ToolChoiceObject, tools: Sequence[Tool], max_calls: int | None) -> ToolPlan:
    if choice.function is not None and choice.type == "function":
        name = choice.function.name
        named = [tool for tool in tools if tool.function.name == name]
        return ToolPlan("required", tools, named, 1)
    allowed = choice.allowed_tools
    assert allowed is not None
    names = {tool.function.name for tool in allowed.tools}
    chosen = [tool for tool in tools if tool.function.name in names]
    return ToolPlan(allowed.mode, chosen, chosen, max_calls)


def _for_template(tool: Tool) -> JsonObject:
    function = tool.function
    described: JsonObject = {"name": function.name}
    if function.description is not None:
        described["description"] = function.description
    described["parameters"] = dict(function.parameters or {"type": "object", "properties": {}})
    return {"type": "function", "function": described}
