"""Detects plain chat templates: those with a known bound on their work.

A plain template loops over the messages only, and not within such a loop. It calls a few methods
that are linear in the text they are called on, and no result but its output is larger than its
input times the number of its nodes. Rendering it takes at most ``weight * (1 + messages) *
characters`` steps. Any other template may run for ever.
"""

from collections.abc import Sequence

from jinja2 import nodes


def plain_weight(template: nodes.Template) -> int | None:
    """The template's factor in the bound above, or None when it is not plain."""
    check = _Check()
    try:
        for node in template.body:
            check.statement(node)
    except _NotPlainError:
        return None
    return check.weight


class _NotPlainError(Exception):
    pass


_MAX_DEPTH = 50
"""Maximum depth of nested nodes. Deeper ones may exhaust the stack of Python's compiler."""
_FILTERS = frozenset(
    {
        *("capitalize", "count", "d", "default", "first", "last", "length", "lower", "title"),
        "upper",
    }
)
_TESTS = frozenset(
    {
        *("boolean", "defined", "false", "iterable", "mapping", "none", "number", "sequence"),
        *("string", "true", "undefined"),
    }
)
_METHODS = frozenset({"endswith", "get", "startswith"})
_FUNCTIONS = frozenset({"namespace", "raise_exception"})
_GLOBALS = _FUNCTIONS | {"cycler", "dict", "joiner", "lipsum", "range", "self", "strftime_now"}
"""Names of callables. A plain template calls them and does not assign them."""
_ATTRIBUTES_OF_TYPES = frozenset(
    name for kind in (str, list, dict, int, float, bool) for name in dir(kind)
)
_LOOP_POSITIONS = frozenset({"index", "index0", "length", "revindex", "revindex0"})


class _Check:
    """Walks the tree; raises _NotPlainError at the first node that is not plain."""

    def __init__(self) -> None:
        self.weight = 1
        """The leaves under each expression, added up: an expression may copy each of its leaves."""
        self._depth = 0
        self._in_loop = False

    def statement(self, node: nodes.Node) -> None:
        self._depth += 1
        match node:
            case _ if self._depth > _MAX_DEPTH:
                raise _NotPlainError
            case nodes.Output(nodes=parts):
                self._expressions(parts)
            case nodes.If(test=test, body=body, elif_=elifs, else_=otherwise):
                self._expressions([test])
                self._statements([*body, *elifs, *otherwise])
            case nodes.For(recursive=False, test=None) if not self._in_loop:
                self._loop(node)
            case nodes.Assign(target=target, node=value):
                self._assign(target, value)
            case nodes.ExprStmt(node=value):
                self._expressions([value])
            case _:
                raise _NotPlainError
        self._depth -= 1

    def _statements(self, statements: Sequence[nodes.Node]) -> None:
        for statement in statements:
            self.statement(statement)

    def _loop(self, node: nodes.For) -> None:
        if not isinstance(node.target, nodes.Name) or not _is_messages(node.iter):
            raise _NotPlainError
        self._target(node.target)
        self._expressions([node.iter])
        self._in_loop = True
        self._statements(node.body)
        self._in_loop = False
        self._statements(node.else_)

    def _assign(self, target: nodes.Node, value: nodes.Node) -> None:
        self._target(target)
        if isinstance(target, nodes.Name) and target.name == "messages" and not _is_messages(value):
            raise _NotPlainError
        # A name holds what came in, or less. If it could hold a sum, a loop could double it.
        if _is_sum(value) or any(map(_is_sum, value.find_all(nodes.Expr))):
            raise _NotPlainError
        self._expressions([value])

    def _target(self, target: nodes.Node) -> None:
        if not isinstance(target, (nodes.Name, nodes.NSRef)) or target.name in _GLOBALS:
            raise _NotPlainError

    def _expressions(self, expressions: Sequence[nodes.Node]) -> None:
        for expression in expressions:
            self._expression(expression)

    def _expression(self, node: nodes.Node) -> int:
        """The number of its leaves."""
        self._depth += 1
        if self._depth > _MAX_DEPTH or not self._is_plain(node):
            raise _NotPlainError
        leaves = sum(map(self._expression, _operands(node))) or 1
        self.weight += leaves
        self._depth -= 1
        return leaves

    def _is_plain(self, node: nodes.Node) -> bool:
        match node:
            case nodes.Name(name=name):
                return name not in _GLOBALS
            case nodes.Getattr(attr=attr):
                return attr not in _ATTRIBUTES_OF_TYPES or self._is_position(node)
            case nodes.Getitem(arg=nodes.Const(value=str() as key)):
                return key not in _ATTRIBUTES_OF_TYPES
            case nodes.Getitem(arg=nodes.Slice(start=start, stop=stop, step=step)):
                return all(each is None or self._is_position(each) for each in (start, stop, step))
            case nodes.Getitem(arg=arg):
                return self._is_position(arg)
            case nodes.Mod(left=left, right=nodes.Const(value=int())):
                return self._is_position(left)  # with a text on the left it would be a layout
            case nodes.Filter(
                node=nodes.Expr(), name="trim", args=args, kwargs=[], dyn_args=None, dyn_kwargs=None
            ):
                return _are_short_texts(args)
            case nodes.Filter(node=nodes.Expr(), name=name, dyn_args=None, dyn_kwargs=None):
                return name in _FILTERS
            case nodes.Test(name=name, dyn_args=None, dyn_kwargs=None):
                return name in _TESTS
            case nodes.Call(
                node=nodes.Getattr(attr="lstrip" | "rstrip" | "strip"),
                args=args,
                kwargs=[],
                dyn_args=None,
                dyn_kwargs=None,
            ):
                return _are_short_texts(args)
            case nodes.Call(node=nodes.Getattr(attr=name), dyn_args=None, dyn_kwargs=None):
                return name in _METHODS
            case nodes.Call(node=nodes.Name(name=name), dyn_args=None, dyn_kwargs=None):
                return name in _FUNCTIONS
        return isinstance(node, _PLAIN_EXPRESSIONS)

    def _is_position(self, node: nodes.Node) -> bool:
        """Whether it is a number, such as an index, whatever the input."""
        match node:
            case nodes.Const(value=int()):
                return True
            case nodes.Neg(node=inner):
                return self._is_position(inner)
            case nodes.Add(left=left, right=right) | nodes.Sub(left=left, right=right):
                return self._is_position(left) and self._is_position(right)
            case nodes.Getattr(node=nodes.Name(name="loop"), attr=attr):
                return self._in_loop and attr in _LOOP_POSITIONS
            case nodes.Filter(name="length" | "count"):
                return True
        return False


_PLAIN_EXPRESSIONS = (
    nodes.TemplateData,
    nodes.Const,
    nodes.CondExpr,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Neg,
    nodes.Add,
    nodes.Sub,
    nodes.Concat,
    nodes.Slice,
    nodes.Keyword,
)


def _operands(node: nodes.Node) -> list[nodes.Node]:
    """What the expression computes with; not the name of what it calls."""
    match node:
        case nodes.Call(node=nodes.Getattr(node=inner), args=args, kwargs=kwargs):
            return [inner, *args, *kwargs]
        case nodes.Call(args=args, kwargs=kwargs):
            return [*args, *kwargs]
    return list(node.iter_child_nodes())


def _are_short_texts(args: list[nodes.Expr]) -> bool:
    """Each character that strip may remove is compared with each of the text."""
    return all(
        isinstance(arg, nodes.Const) and isinstance(arg.value, str) and len(arg.value) <= 100
        for arg in args
    )


def _is_messages(node: nodes.Node) -> bool:
    match node:
        case nodes.Name(name="messages"):
            return True
        case nodes.Getitem(node=nodes.Name(name="messages"), arg=nodes.Slice()):
            return True
    return False


def _is_sum(node: nodes.Node) -> bool:
    return isinstance(node, (nodes.Add, nodes.Concat))
