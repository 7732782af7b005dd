"""YAML as plain data with the position of every key and value.

As in YAML 1.2, ``on``, ``no``, ``0755``, ``1_000``, ``1:30`` and dates are text, and only ``true``
and ``false`` are booleans. Anchors, aliases and ``<<`` are supported; a second document, duplicate
keys, tags and bare ``{placeholder}`` values are problems.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import yaml  # type: ignore[import-untyped]

from headrace.control.manifests.parsing.problems import ManifestError, Path, Problem, show_path

MAX_NUM_CHARACTERS = 256 * 1024
"""Far above any hand-written manifest."""

MAX_NUM_VALUES = 20_000
"""Counted with aliases resolved, which bounds their expansion."""

_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z")
_HEX = re.compile(r"0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\Z")
_MAX_NUM_DIGITS = 18
"""A longer number stays text: no key accepts it."""
_UNUSABLE = re.compile("[\0\ud800-\udfff]")
"""Possible as escapes in double-quoted text, invalid in commands, variables and paths."""
_BLOCK_TOKENS = ("'<block mapping start>'", "'<block sequence start>'", "'-'", "'?'")
"""Tokens in PyYAML's errors about wrong indentation."""
_TEXT_TAGS = {f"{_TAG}{name}" for name in ("str", "timestamp", "value")}

IsText = Callable[[Path], bool]
"""Whether the value at a path is always text: ``1.10`` stays ``1.10``."""


@dataclass(frozen=True, slots=True)
class Position:
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Place:
    """The position of one value."""

    value: Position
    key: Position | None
    """None for items of a list and for the whole file."""
    is_scalar: bool
    written: Path
    """The path in the file, which differs from the one in the data after `Document.moved`."""

    @property
    def best(self) -> Position:
        """The position for messages: of a scalar itself, or of the key of a block."""
        return self.value if self.is_scalar or self.key is None else self.key


@dataclass(frozen=True, slots=True)
class Document:
    file: str
    data: dict[str, Any]
    places: dict[Path, Place]
    placeholders: dict[Path, str]
    """Names in values like ``{number}``, which YAML parses as mappings."""

    def problem(self, path: Path, reason: str, *, at_key: bool = False) -> Problem:
        """A problem at the path's position, or at that of its nearest parent."""
        known = path
        while known not in self.places:
            known = known[:-1]
        place = self.places[known]
        position = place.key if at_key and place.key and known == path else place.best
        shown = show_path(place.written + path[len(known) :])
        return Problem(self.file, position.line, position.column, shown, reason)

    def moved(self, source: Path, target: Path) -> "Document":
        """With the value at ``source`` moved to ``target``; problems show its original path."""
        value = self.value_at(source)
        return replace(
            self,
            data=_with(_without(self.data, source), target, value),
            places={_relocated(path, source, target): at for path, at in self.places.items()},
            placeholders={
                _relocated(path, source, target): name for path, name in self.placeholders.items()
            },
        )

    def dropped(self, path: Path) -> "Document":
        return replace(self, data=_without(self.data, path))

    def value_at(self, path: Path) -> Any:
        """None if there is no value."""
        value: Any = self.data
        for step in path:
            if not isinstance(value, dict):
                return None
            value = value.get(step)
        return value


def load(text: str, file: str, is_text: IsText = lambda path: False) -> Document:
    """Parse one mapping. Raises ManifestError with positions."""
    if len(text) > MAX_NUM_CHARACTERS:
        limit = MAX_NUM_CHARACTERS // 1024
        raise ManifestError([Problem(file, 1, 1, "", f"is longer than {limit} KiB")])
    node = _compose(text, file)
    reader = _Reader(file, is_text)
    try:
        data = reader.read(node, ())
    except RecursionError:
        raise ManifestError([Problem(file, 1, 1, "", "is nested too deeply")]) from None
    if reader.problems:
        raise ManifestError(reader.problems)
    if not isinstance(data, dict):
        line, column = _line_and_column(node)
        reason = "must be keys with values, such as `message: my first revision`"
        raise ManifestError([Problem(file, line, column, "", reason)])
    return Document(file, data, reader.places, reader.placeholders)


def _compose(text: str, file: str) -> yaml.Node:
    def refuse(line: int, column: int, reason: str) -> NoReturn:
        raise ManifestError([Problem(file, line, column, "", reason)])

    try:
        loader = yaml.SafeLoader(text)
        try:
            if not loader.check_node():
                refuse(1, 1, "is empty")
            node: yaml.Node = loader.get_node()
            if loader.check_node():
                second = loader.get_node()
                refuse(*_line_and_column(second), "starts a second document; keep one a file")
            return node
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - (text.rfind("\n", 0, error.position) + 1) + 1
        refuse(line, column, f"has a character that YAML does not allow (#x{error.character:04x})")
    except yaml.MarkedYAMLError as error:
        marks = (error.problem_mark, error.context_mark)
        if _began_earlier(error):
            marks = (error.context_mark, error.problem_mark)
        mark = marks[0] or marks[1]
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        refuse(line, column, _syntax_reason(error))
    except RecursionError:
        refuse(1, 1, "is nested too deeply")


def _began_earlier(error: yaml.MarkedYAMLError) -> bool:
    """Whether the error is at the begin of the construct, not where the parser noticed it."""
    problem = error.problem or ""
    return "could not find expected ':'" in problem or "end of stream" in problem


def _syntax_reason(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "this is not YAML"
    if "'\\t'" in problem:
        return "a tab stands here; indent with spaces"
    if "mapping values are not allowed" in problem:
        return (
            "a colon stands where none can; put a value that has `: ` in it in quotes, and indent "
            "the keys of one block alike"
        )
    if "expected" in problem and any(f"found {token}" in problem for token in _BLOCK_TOKENS):
        return "the indentation of this line does not fit the lines above it"
    if "expected <block end>, but found '<scalar>'" in problem:
        return (
            "text follows a value that has ended; put all of the value in quotes, or indent this "
            "line like the one above"
        )
    if "could not find expected ':'" in problem:
        return "a key without a colon; write `key: value`"
    if "end of stream" in problem and "quoted" in (error.context or ""):
        return "a quote is opened here and never closed"
    if "undefined alias" in problem or "'@'" in problem or "'`'" in problem or "'%'" in problem:
        return f"{problem}; put the value in quotes if it is text"
    context = f" {error.context}" if error.context else ""
    return f"this is not YAML: {problem}{context}"


class _Reader:
    """Converts nodes to data, and collects positions and problems."""

    def __init__(self, file: str, is_text: IsText) -> None:
        self._file = file
        self._is_text = is_text
        self._open: list[yaml.Node] = []
        self._num_values = 0
        self.places: dict[Path, Place] = {}
        self.placeholders: dict[Path, str] = {}
        self.problems: list[Problem] = []

    def read(self, node: yaml.Node, path: Path, key: Position | None = None) -> Any:
        self._num_values += 1
        if self._num_values > MAX_NUM_VALUES:
            self._refuse_all(node, "holds too many values once its aliases are followed")
        if any(node is opened for opened in self._open):
            self._refuse_all(node, "an alias stands inside what it names")
        position = Position(*_line_and_column(node))
        self.places[path] = Place(position, key, isinstance(node, yaml.ScalarNode), path)
        self._open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return self._sequence(node, path)
            return self._scalar(node, path)
        finally:
            self._open.pop()

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        if node.tag != f"{_TAG}map":
            self._refuse_tag(node, path)
        name = _placeholder(node)
        if name is not None:
            self.placeholders[path] = name
        result: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == f"{_TAG}merge":
                merged |= self._merged(value_node, path)
                continue
            key = self._key(key_node, path)
            if key is None:
                continue
            here = (*path, key)
            position = Position(*_line_and_column(key_node))
            if key in result:
                first = self.places[here]
                line = first.key.line if first.key else first.value.line
                self._refuse(position, here, f"is given twice, first on line {line}; keep one")
                continue
            result[key] = self.read(value_node, here, position)
        return {**merged, **result}

    def _merged(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        """The keys merged by ``<<``; the mapping's own keys take precedence."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        result: dict[str, Any] = {}
        for source in sources:
            if not isinstance(source, yaml.MappingNode):
                reason = "`<<` takes a mapping, or a list of them"
                self._refuse(Position(*_line_and_column(source)), path, reason)
                continue
            kept = self.places.copy()
            read = self.read(source, path)
            self.places |= kept
            result = {**read, **result}
        return result

    def _key(self, node: yaml.Node, path: Path) -> str | None:
        if isinstance(node, yaml.ScalarNode) and node.value != "":
            return self._text(node, path)
        reason = "a key must be a word; text that begins with a brace needs quotes"
        self._refuse(Position(*_line_and_column(node)), path, reason)
        return None

    def _sequence(self, node: yaml.SequenceNode, path: Path) -> list[Any]:
        if node.tag != f"{_TAG}seq":
            self._refuse_tag(node, path)
        return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]

    def _scalar(self, node: yaml.Node, path: Path) -> str | int | float | bool | None:
        text = self._text(node, path)
        is_plain = node.style is None
        if is_plain and node.tag == f"{_TAG}null":
            return None
        if node.tag in _TEXT_TAGS or (self._is_text(path) and node.tag.startswith(_TAG)):
            return text
        if node.tag == f"{_TAG}bool":
            return _BOOLEANS.get(text.lower(), text)
        if node.tag == f"{_TAG}int":
            return _whole_number(text)
        if node.tag == f"{_TAG}float":
            return float(text) if _FLOAT.match(text) else text
        self._refuse_tag(node, path)
        return None

    def _text(self, node: yaml.ScalarNode, path: Path) -> str:
        text = _with_joined_pairs(str(node.value))
        unusable = _UNUSABLE.search(text)
        if unusable is not None:
            code = f"\\u{ord(unusable.group()):04x}"
            reason = (
                f"contains the character {code}, which no command, variable or path can contain"
            )
            self._refuse(Position(*_line_and_column(node)), path, reason)
        return _UNUSABLE.sub("\ufffd", text)

    def _refuse_tag(self, node: yaml.Node, path: Path) -> None:
        tag = node.tag.replace(_TAG, "!!")
        position = Position(*_line_and_column(node))
        self._refuse(position, path, f"has the tag {tag}, but tags are not used here")

    def _refuse(self, position: Position, path: Path, reason: str) -> None:
        self.problems.append(
            Problem(self._file, position.line, position.column, show_path(path), reason)
        )

    def _refuse_all(self, node: yaml.Node, reason: str) -> NoReturn:
        raise ManifestError([Problem(self._file, *_line_and_column(node), "", reason)])


_BOOLEANS = {"true": True, "false": False}


def _whole_number(text: str) -> int | str:
    if len(text) > _MAX_NUM_DIGITS:
        return text
    if _INT.match(text):
        return int(text)
    return int(text, 16) if _HEX.match(text) else text


def _with_joined_pairs(text: str) -> str:
    """Join surrogate pairs: JSON escapes a character beyond U+FFFF as two, and YAML reads two."""
    if not any("\ud800" <= character <= "\udfff" for character in text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _placeholder(node: yaml.MappingNode) -> str | None:
    """``number`` for the flow mapping ``{number}``: one key, and nothing after it."""
    if not node.flow_style or len(node.value) != 1:
        return None
    key, value = node.value[0]
    if not isinstance(key, yaml.ScalarNode) or not isinstance(value, yaml.ScalarNode):
        return None
    return str(key.value) if value.value == "" and value.style is None else None


def _line_and_column(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _without(data: dict[str, Any], path: Path) -> dict[str, Any]:
    """A copy that lacks the value at the path, which leads through mappings only."""
    head, *rest = path
    if rest:
        return {**data, str(head): _without(data[str(head)], tuple(rest))}
    return {key: value for key, value in data.items() if key != head}


def _with(data: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """A copy that has the value at the path, which leads through mappings only."""
    head, *rest = path
    if not rest:
        return {**data, str(head): value}
    return {**data, str(head): _with(data.get(str(head)) or {}, tuple(rest), value)}


def _relocated(path: Path, source: Path, target: Path) -> Path:
    return target + path[len(source) :] if path[: len(source)] == source else path
