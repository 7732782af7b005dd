"""Write the tables of endpoints and fields in docs/api.md from the code.

    python scripts/api_docs.py

Replaces what is between the markers. The tables' rows are the server's: routes.py, the schemas of
bodies, and the tables beside them of fields that are different or not supported.
"""

import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from pydantic import BaseModel

from headrace.server.config import ServerConfig
from headrace.server.documentation.field_table import (
    FieldRow,
    Support,
    nested_models,
    own_rows,
    parent_of,
)
from headrace.server.endpoint import Endpoint
from headrace.server.routes import ENDPOINTS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "api.md"
BEGIN = "<!-- begin: written by `make api-docs` -->\n"
END = "<!-- end -->\n"

_SUPPORT = {
    Support.YES: "yes",
    Support.DIFFERENT: "yes, different",
    Support.NO: "no",
    Support.IGNORED: "ignored",
}


def main() -> int:
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


def updated(page: str) -> str:
    """The page with its tables as they should be."""
    before, _, rest = page.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"{PAGE} lacks the line {END.strip()}")
    return before + BEGIN + "\n" + "\n".join(_lines()) + "\n" + END + after


def _lines() -> Iterator[str]:
    yield from _endpoints()
    yield from (
        "## Fields",
        "",
        "Values are those of JSON. For a field that is not supported, they are the neutral ones.",
        "",
    )
    bodies = list(dict.fromkeys(model for each in ENDPOINTS for model in each.requests))
    objects = list(dict.fromkeys(inner for model in bodies for inner in nested_models(model)))
    for model in bodies:
        yield from _fields(model, ", ".join(_paths_of(model)), bodies)
    for model in objects:
        yield from _fields(model, "In bodies", ())


def _endpoints() -> Iterator[str]:
    yield from (
        "## Endpoints",
        "",
        "Where the server has API keys, every path needs one but the *open* ones.",
        "",
        "| path | methods | key | body | what it does |",
        "|---|---|---|---|---|",
    )
    for each in ENDPOINTS:
        key = "open" if each.is_open else "needed"
        bodies = ", ".join(f"[{model.__name__}](#{_anchor(model)})" for model in each.requests)
        notes = " ".join(filter(None, (f"{each.summary}.", _option(each), each.difference)))
        yield (
            f"| `{each.openapi_path}` | {', '.join(each.methods)} | {key} | {bodies} | {notes} |"
        )
    yield ""


def _option(endpoint: Endpoint) -> str:
    """The option that the endpoint depends on."""
    name = endpoint.enabled_by
    if name is None:
        return ""
    flag = name.replace("_", "-")
    is_on = ServerConfig.__dataclass_fields__[name].default
    return f"Not with `--no-{flag}`." if is_on else f"Only with `--{flag}`."


def _fields(model: type[BaseModel], where: str, bodies: Sequence[type[BaseModel]]) -> Iterator[str]:
    parent = parent_of(model, bodies)
    if parent is not None:
        link = f"[{parent.__name__}](#{_anchor(parent)})"
        where += f". It has the fields of {link}, of which these differ"
    yield from (
        f"### {model.__name__}",
        "",
        f"{where}.",
        "",
        "| field | supported | values | |",
        "|---|---|---|---|",
    )
    for _, rows in groupby(own_rows(model, bodies), _merged):
        yield _row(list(rows))
    yield ""


def _merged(row: FieldRow) -> object:
    """Equal for neighbours that share a row of the page."""
    return (row.support, row.values, row.notes) if row.support is Support.IGNORED else row.name


def _row(rows: list[FieldRow]) -> str:
    names = ", ".join(f"`{row.name}`" for row in rows)
    [first, *_] = rows
    notes = " ".join(filter(None, ("Required." if first.is_required else "", first.notes)))
    return f"| {names} | {_SUPPORT[first.support]} | {first.values} | {notes} |".replace("  ", " ")


def _paths_of(model: type[BaseModel]) -> list[str]:
    return [f"`{each.openapi_path}`" for each in ENDPOINTS if model in each.requests]


def _anchor(model: type[BaseModel]) -> str:
    return model.__name__.lower()


if __name__ == "__main__":
    sys.exit(main())
