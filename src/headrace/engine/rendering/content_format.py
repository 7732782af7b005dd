"""Detects the form of a message's content that a chat template expects: a text or a list of parts.

Tracks names through assignments, loops and macro calls, ignoring their order: a name that may hold
a message's content anywhere is assumed to hold it everywhere.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Flag, auto

from jinja2 import nodes


@dataclass(frozen=True)
class ContentFormat:
    """How a template reads ``message.content``."""

    reads_parts: bool = False
    """It loops over the content, which is OpenAI's list of parts."""
    reads_text: bool = True
    """It expects one text."""


def detect_content_format(template: nodes.Template) -> ContentFormat:
    """The format, from the template's syntax tree."""
    names = _Names(template)
    if not any(names.holds_content(node) for node in _looped_over(template)):
        return ContentFormat()
    return ContentFormat(
        reads_parts=True,
        reads_text=any(
            test.name == "string" and names.holds_content(test.node)
            for test in template.find_all(nodes.Test)
        ),
    )


class _Kind(Flag):
    MESSAGES = auto()
    MESSAGE = auto()
    CONTENT = auto()


_NOTHING = _Kind(0)
_SAME_KIND_FILTERS = frozenset(
    {"d", "default", "list", "reject", "rejectattr", "reverse", "select", "selectattr", "sort"}
)
"""Filters whose result is the value, or some of its items."""
_ITEM_FILTERS = frozenset({"first", "last"})
_LOOPING_FILTERS = frozenset({"map", "rejectattr", "selectattr"})
"""Filters that read an attribute of each item."""


def _looped_over(template: nodes.Template) -> Iterator[nodes.Node | None]:
    for loop in template.find_all(nodes.For):
        yield loop.iter
    for each in template.find_all(nodes.Filter):
        if each.name in _LOOPING_FILTERS:
            yield each.node


class _Names:
    """The kinds of value that the template's names may hold."""

    def __init__(self, template: nodes.Template) -> None:
        self._kinds: dict[str, _Kind] = defaultdict(lambda: _NOTHING)
        self._kinds["messages"] = _Kind.MESSAGES
        self._macros = {macro.name: macro for macro in template.find_all(nodes.Macro)}
        known = None
        while known != self._kinds:
            known = dict(self._kinds)
            for node in template.find_all((nodes.Assign, nodes.With, nodes.For, nodes.Call)):
                self._follow(node)

    def holds_content(self, node: nodes.Node | None) -> bool:
        return _Kind.CONTENT in self._kind(node)

    def _follow(self, node: nodes.Node) -> None:
        match node:
            case nodes.Assign(
                target=nodes.Name(name=name),
                node=nodes.Call(node=nodes.Name(name="namespace"), kwargs=kwargs),
            ):
                for keyword in kwargs:
                    self._kinds[f"{name}.{keyword.key}"] |= self._kind(keyword.value)
            case nodes.Assign(target=target, node=value):
                self._bind(target, self._kind(value))
            case nodes.With(targets=targets, values=values):
                for target, value in zip(targets, values, strict=True):
                    self._bind(target, self._kind(value))
            case nodes.For(target=target, iter=iterated):
                self._bind(target, _item_of(self._kind(iterated)))
            case nodes.Call(node=nodes.Name(name=name)) if name in self._macros:
                self._follow_call(self._macros[name], node)

    def _follow_call(self, macro: nodes.Macro, call: nodes.Call) -> None:
        for parameter, value in zip(macro.args, call.args, strict=False):
            self._bind(parameter, self._kind(value))
        parameters = {parameter.name: parameter for parameter in macro.args}
        for keyword in call.kwargs:
            if keyword.key in parameters:
                self._bind(parameters[keyword.key], self._kind(keyword.value))

    def _bind(self, target: nodes.Node, kind: _Kind) -> None:
        match target:
            case nodes.Name(name=name):
                self._kinds[name] |= kind
            case nodes.NSRef(name=name, attr=attr):
                self._kinds[f"{name}.{attr}"] |= kind

    def _kind(self, node: nodes.Node | None) -> _Kind:
        match node:
            case nodes.Name(name=name):
                return self._kinds[name]
            case nodes.Getattr(node=nodes.Name(name=name), attr=attr):
                return self._kinds[f"{name}.{attr}"] | _field_of(self._kinds[name], attr)
            case nodes.Getattr(node=inner, attr=attr):
                return _field_of(self._kind(inner), attr)
            case nodes.Getitem(node=inner, arg=nodes.Slice()):
                return self._kind(inner)
            case nodes.Getitem(node=inner, arg=nodes.Const(value=str() as key)):
                return _field_of(self._kind(inner), key)
            case nodes.Getitem(node=inner):
                return _item_of(self._kind(inner))
            case nodes.Call(
                node=nodes.Getattr(node=inner, attr="get"),
                args=[nodes.Const(value=str() as key), *_],
            ):
                return _field_of(self._kind(inner), key)
            case nodes.Filter(node=inner, name=name) if name in _SAME_KIND_FILTERS:
                return self._kind(inner)
            case nodes.Filter(node=inner, name=name) if name in _ITEM_FILTERS:
                return _item_of(self._kind(inner))
            case nodes.CondExpr(expr1=one, expr2=other):
                return self._kind(one) | self._kind(other)
            case nodes.And(left=one, right=other) | nodes.Or(left=one, right=other):
                return self._kind(one) | self._kind(other)
        return _NOTHING


def _item_of(kind: _Kind) -> _Kind:
    return _Kind.MESSAGE if _Kind.MESSAGES in kind else _NOTHING


def _field_of(kind: _Kind, name: str) -> _Kind:
    return _Kind.CONTENT if name == "content" and _Kind.MESSAGE in kind else _NOTHING
