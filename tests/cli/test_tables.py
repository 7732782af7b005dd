"""Listings at every width: nothing is lost, and no line is longer than the terminal."""

import sys

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from headrace.cli.tables import fits, print_fields, print_table, wrapped

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
