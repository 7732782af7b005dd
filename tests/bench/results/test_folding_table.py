"""Tables that a narrow terminal can show."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from headrace.bench.results.folding_table import FoldingTable


def shown(table: FoldingTable, width: int) -> list[str]:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]


def made() -> FoldingTable:
    table = FoldingTable(("load", "requests/s", "latency, s", "failed"))
    table.add_row("1", "8.20", "0.1208", "0")
    table.add_row("16 (knee)", "16.24", "12.27", "3", is_bold=True)
    return table


def test_where_there_is_room_it_is_one_table() -> None:
    assert shown(made(), 80) == [
        "load       requests/s  latency, s  failed",
        "1                8.20      0.1208       0",
        "16 (knee)       16.24       12.27       3",
    ]


def test_where_there_is_none_the_rest_follows_below() -> None:
    assert shown(made(), 34) == [
        "load       requests/s  latency, s",
        "1                8.20      0.1208",
        "16 (knee)       16.24       12.27",
        "",
        "load       failed",
        "1               0",
        "16 (knee)       3",
    ]


def test_cells_are_no_markup() -> None:
    table = FoldingTable(("target", "ratio"))
    table.add_row("[bold]b", "[1]")
    assert shown(table, 80)[1].split() == ["[bold]b", "[1]"]


def test_without_rows_it_has_its_headings() -> None:
    assert shown(FoldingTable(("load", "failed")), 80) == ["load  failed"]


@given(
    st.lists(st.integers(1, 10), min_size=2, max_size=12), st.integers(45, 200), st.integers(1, 2)
)
def test_nothing_is_cut_and_nothing_is_too_wide(
    lengths: list[int], width: int, num_keys: int
) -> None:
    headings = [f"{at}{'x' * length}" for at, length in enumerate(lengths)]
    num_keys = min(num_keys, len(headings) - 1)
    table = FoldingTable(headings, num_keys)
    table.add_row(*(heading.replace("x", "y") for heading in headings))
    lines = shown(table, width)
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    for heading in headings:
        assert heading in words
        assert heading.replace("x", "y") in words


@pytest.mark.parametrize("width", [60, 80, 120])
def test_key_columns_stand_in_every_part(width: int) -> None:
    table = FoldingTable(("figure", "target", *(f"column number {n}" for n in range(9))), 2)
    table.add_row("latency", "b", *("1.000" for _ in range(9)))
    lines = shown(table, width)
    heads = [line for line in lines if line.startswith("figure")]
    assert len(heads) > 1
    assert all(line.split()[:2] == ["figure", "target"] for line in heads)
