"""Listings at every width: nothing is lost, and no line is longer than the terminal."""

import sys

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from headrace.cli.tables import SplitTable, fits, print_fields, print_table, wrapped

HEADINGS = ("ID", "Name", "Status", "Description")
RUN = ("671486968083", "evaluation-of-the-model", "completed", "A run that says hello to all")
ROWS = [RUN, ("949395967920", "job", "running", "")]

words = st.lists(st.text("abz-é日", min_size=1, max_size=30), max_size=8).map(" ".join)
plain = st.text("abz-é日", min_size=1, max_size=30)


def screen(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """From here on, a terminal of this width reads."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))


def shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_where_nobody_looks_a_row_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(HEADINGS, ROWS)
    lines = shown(capsys)
    assert [line.split() for line in lines] == [
        list(HEADINGS),
        " ".join(RUN).split(),
        ["949395967920", "job", "running"],
    ]
    assert "\x1b" not in "".join(lines)
    begin = lines[0].index("Status")
    assert [line[begin:].split()[0] for line in lines] == ["Status", "completed", "running"]


def test_the_last_column_is_folded_where_there_is_room(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen(monkeypatch, 76)
    assert fits(HEADINGS, ROWS)
    print_table(HEADINGS, ROWS)
    lines = shown(capsys)
    assert len(lines) == 4
    assert lines[1].endswith("A run that says hello to")
    assert lines[2].strip() == "all"
    assert lines[2].index("all") == lines[1].index("A run")


def test_where_there_is_none_a_field_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen(monkeypatch, 60)
    assert not fits(HEADINGS, ROWS)
    print_table(HEADINGS, ROWS)
    assert shown(capsys) == [
        "  ID 671486968083",
        "  Name evaluation-of-the-model",
        "  Status completed",
        "  Description A run that says hello to all",
        "",
        "  ID 949395967920",
        "  Name job",
        "  Status running",
    ]


def test_an_empty_column_gives_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen(monkeypatch, 30)
    print_table(HEADINGS, [ROWS[1]])
    assert shown(capsys) == ["ID            Name  Status", "949395967920  job   running"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    rows=st.lists(st.tuples(plain, plain, words), min_size=1, max_size=4),
    width=st.integers(40, 200),
)
@example(rows=[("日本" * 9, "a", "z" * 99)], width=40)
def test_nothing_is_lost_and_a_table_never_overflows(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    rows: list[tuple[str, str, str]],
    width: int,
) -> None:
    screen(monkeypatch, width)
    headings = ("One", "Two", "Three")
    is_table = fits(headings, rows)
    print_table(headings, rows)
    lines = shown(capsys)
    if is_table:
        assert all(cell_len(line) <= width for line in lines)
    everything = "".join("".join(lines).split())
    for row in rows:
        for cell in row[:2]:
            assert cell in everything
    letters = sorted("".join("".join("".join(row) for row in rows).split()))
    rest = everything
    for heading in headings:
        rest = rest.replace(heading, "")
    assert sorted(rest) == letters


def test_text_is_wrapped_below_its_heading(monkeypatch: pytest.MonkeyPatch) -> None:
    screen(monkeypatch, 34)
    assert wrapped("one two three four five six seven\neight", indent=4) == [
        "    one two three four five six",
        "    seven",
        "    eight",
    ]


def test_a_value_of_several_lines_goes_below_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    print_fields(("Cause", "one\ntwo"), ("Tags", ""))
    assert shown(capsys) == ["  Cause", "    one", "    two", "  Tags (empty)"]


def printed(table: SplitTable, width: int) -> list[str]:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]


def made() -> SplitTable:
    rows = [("1", "8.20", "0.1208", "0"), ("16 (knee)", "16.24", "12.27", "3")]
    return SplitTable(("load", "requests/s", "latency, s", "failed"), rows, bold_row=1)


def test_a_table_of_numbers_that_fits_is_not_split() -> None:
    assert printed(made(), 80) == [
        "load       requests/s  latency, s  failed",
        "1                8.20      0.1208       0",
        "16 (knee)       16.24       12.27       3",
    ]


def test_columns_that_do_not_fit_continue_below() -> None:
    assert printed(made(), 34) == [
        "load       requests/s  latency, s",
        "1                8.20      0.1208",
        "16 (knee)       16.24       12.27",
        "",
        "load       failed",
        "1               0",
        "16 (knee)       3",
    ]


def test_cells_are_no_markup() -> None:
    table = SplitTable(("target", "ratio"), [("[bold]b", "[1]")])
    assert printed(table, 80)[1].split() == ["[bold]b", "[1]"]


def test_without_rows_it_has_its_headings() -> None:
    assert printed(SplitTable(("load", "failed"), []), 80) == ["load  failed"]


@given(
    st.lists(st.integers(1, 10), min_size=2, max_size=12), st.integers(45, 200), st.integers(1, 2)
)
def test_nothing_is_cut_and_nothing_is_too_wide(
    lengths: list[int], width: int, num_keys: int
) -> None:
    headings = [f"{at}{'x' * length}" for at, length in enumerate(lengths)]
    num_keys = min(num_keys, len(headings) - 1)
    row = [heading.replace("x", "y") for heading in headings]
    table = SplitTable(headings, [row], num_keys)
    lines = printed(table, width)
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    for heading in headings:
        assert heading in words
        assert heading.replace("x", "y") in words


@pytest.mark.parametrize("width", [60, 80, 120])
def test_key_columns_stand_in_every_part(width: int) -> None:
    headings = ("figure", "target", *(f"column number {n}" for n in range(9)))
    table = SplitTable(headings, [("latency", "b", *("1.000" for _ in range(9)))], 2)
    lines = printed(table, width)
    heads = [line for line in lines if line.startswith("figure")]
    assert len(heads) > 1
    assert all(line.split()[:2] == ["figure", "target"] for line in heads)
