"""Every error has a code, and docs/errors.md lists all of them."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import headrace
from headrace.core.errors import HeadraceError

SOURCE = Path(headrace.__file__).parent
PAGE = (SOURCE.parents[1] / "docs" / "errors.md").read_text()
TREES = [ast.parse(path.read_text()) for path in sorted(SOURCE.rglob("*.py"))]


def codes_by_class() -> dict[str, set[str]]:
    """The codes of all subclasses of HeadraceError in the source. Private ones never leave it."""
    classes = [node for tree in TREES for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    found: dict[str, set[str]] = {HeadraceError.__name__: set()}
    num_known = 0
    while num_known < len(found):
        num_known = len(found)
        for node in classes:
            if any(ast.unparse(base) in found for base in node.bases):
                found.setdefault(node.name, set()).update(own_codes(node))
    del found[HeadraceError.__name__]
    found["ControlApiError"] |= set(codes_of_the_client())
    return {name: codes for name, codes in found.items() if not name.startswith("_")}


def own_codes(node: ast.ClassDef) -> Iterator[str]:
    """Those that the class declares, as its one code or as a Literal of several."""
    for statement in node.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "code":
            yield ast.literal_eval(statement.value)
        elif isinstance(statement, ast.AnnAssign) and ast.unparse(statement.target) == "code":
            yield from literals()[ast.unparse(statement.annotation)]


def codes_of_the_client() -> Iterator[str]:
    """Those that the control plane's client raises by itself."""
    for node in (node for tree in TREES for node in ast.walk(tree)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "ControlApiError":
            yield from (one.value for one in node.args[1:] if isinstance(one, ast.Constant))


def literals() -> dict[str, list[str]]:
    """The values of the Literal types in the source that are named."""
    return {
        ast.unparse(node.targets[0]): [ast.literal_eval(one) for one in node.value.slice.elts]
        for tree in TREES
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Subscript)
        and ast.unparse(node.value.value) == "Literal"
        and isinstance(node.value.slice, ast.Tuple)
    }


def documented() -> dict[str, set[str]]:
    """The codes of the page's rows, by class."""
    found: dict[str, set[str]] = {}
    for code, classes in re.findall(r"^\| `(\w+)` \| (`\w+`(?:, `\w+`)*) \|", PAGE, re.MULTILINE):
        for name in re.findall(r"\w+", classes):
            found.setdefault(name, set()).add(code)
    return found


def test_every_class_has_codes_of_its_own_in_snake_case() -> None:
    codes = codes_by_class()
    assert {"InvalidParameterError", "ConflictError", "OptionError"} <= set(codes)
    assert [name for name, own in codes.items() if not own] == []
    assert [
        code for own in codes.values() for code in own if not re.fullmatch("[a-z_]+", code)
    ] == []


def test_a_code_belongs_to_one_class() -> None:
    counts = Counter(code for own in codes_by_class().values() for code in own)
    assert [code for code, num in counts.items() if num > 1] == ["invalid_name"]  # as in the API


def test_the_page_lists_every_code_with_its_class() -> None:
    assert documented() == codes_by_class()


def test_only_subclasses_are_raised() -> None:
    raised = [
        f"line {node.lineno}: {ast.unparse(node)}"
        for tree in TREES
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and ast.unparse(node.exc.func) == HeadraceError.__name__
    ]
    assert raised == []
