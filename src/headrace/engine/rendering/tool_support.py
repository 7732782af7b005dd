"""Detects how a chat template takes tools and tool calls."""

from dataclasses import dataclass

from jinja2 import TemplateError, nodes

from headrace.engine.rendering.jinja_environment import create_environment

_MAX_PARSED_CHARS = 256 * 1024
_VALUE_FILTERS = frozenset({"tojson", "items", "dictsort", "list"})
_VALUE_METHODS = frozenset({"items", "keys", "values", "get"})


@dataclass(frozen=True)
class ToolSupport:
    """How a template takes tools."""

    reads_tools: bool = False
    """It reads the variable ``tools``."""
    arguments_are_text: bool = False
    """It writes the arguments of a call as they are: they must be JSON text, not an object."""
    refuses_system: bool = False
    """It raises an error for a system message."""


def detect_tool_support(source: str) -> ToolSupport:
    """What a template supports; nothing if it cannot be parsed."""
    if len(source) > _MAX_PARSED_CHARS:
        return ToolSupport(reads_tools="tools" in source)
    try:
        template = create_environment().parse(source)
    except (TemplateError, RecursionError, MemoryError, ValueError):
        return ToolSupport()
    return ToolSupport(
        reads_tools=any(
            name.name == "tools" and name.ctx == "load" for name in template.find_all(nodes.Name)
        ),
        arguments_are_text=_arguments_are_text(template),
        refuses_system="System role not supported" in source,
    )


def _arguments_are_text(template: nodes.Template) -> bool:
    names = {
        assigned.target.name
        for assigned in template.find_all(nodes.Assign)
        if isinstance(assigned.target, nodes.Name) and _reads_arguments(assigned.node, frozenset())
    }
    known = frozenset(names)
    for node in template.find_all((nodes.Filter, nodes.Test, nodes.For, nodes.Call)):
        match node:
            case nodes.Filter(node=inner, name=name):
                is_value = name in _VALUE_FILTERS and _reads_arguments(inner, known)
            case nodes.Test(node=inner):
                is_value = _reads_arguments(inner, known)
            case nodes.For(iter=inner):
                is_value = _reads_arguments(inner, known)
            case nodes.Call(node=nodes.Getattr(node=inner, attr=attr)):
                is_value = attr in _VALUE_METHODS and _reads_arguments(inner, known)
            case _:
                is_value = False
        if is_value:
            return False
    return any(
        _reads_arguments(operand, known)
        for node in template.find_all((nodes.Add, nodes.Concat, nodes.Output))
        for operand in node.iter_child_nodes()
    )


def _reads_arguments(node: nodes.Node | None, names: frozenset[str]) -> bool:
    match node:
        case nodes.Getattr(attr="arguments"):
            return True
        case nodes.Getitem(arg=nodes.Const(value="arguments")):
            return True
        case nodes.Name(name=name):
            return name in names
        case nodes.Or(left=left):
            return _reads_arguments(left, names)
    return False
