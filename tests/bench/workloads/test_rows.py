import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bench.errors import WorkloadError
from headrace.bench.workloads.rows import (
    read_csv_rows,
    read_json_lines,
    read_json_rows,
    read_lines,
)


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def values(rows):
    return [row.value for row in rows]


@given(st.lists(st.dictionaries(st.text(max_size=3), st.integers()), max_size=5))
def test_an_array_and_lines_hold_the_same_rows(tmp_path_factory, wanted):
    folder = tmp_path_factory.mktemp("rows")
    array = write(folder, "a.json", json.dumps(wanted, indent=2))
    lines = write(folder, "a.jsonl", "".join(json.dumps(one) + "\n" for one in wanted))
    assert values(read_json_rows(array)) == wanted
    assert values(read_json_rows(lines)) == wanted


def test_every_row_knows_its_line(tmp_path):
    path = write(tmp_path, "a.json", '[\n  {"a":\n   1},\n\n {"a": 2}, {"a": 3}\n]\n')
    assert [(row.line, row.value["a"]) for row in read_json_rows(path)] == [(2, 1), (5, 2), (5, 3)]


def test_an_array_under_a_key(tmp_path):
    path = write(tmp_path, "a.json", '{\n "Data": [\n  {"q": 1},\n  {"q": 2}],\n "Domain": "w"}')
    assert [(row.line, row.value["q"]) for row in read_json_rows(path, key="Data")] == [
        (3, 1),
        (4, 2),
    ]


def test_gzipped_text_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress('\ufeff{"a": "ü"}\n\n{"a": "b"}'.encode()))
    assert [(row.line, row.value["a"]) for row in read_json_rows(path)] == [(1, "ü"), (3, "b")]


def test_csv_rows_may_span_lines(tmp_path):
    path = write(tmp_path, "a.csv", 'id,text\n1,"two\nlines"\n2,' + "x" * 200_000 + "\n")
    rows = list(read_csv_rows(path))
    assert [row.value["id"] for row in rows] == ["1", "2"]
    assert rows[0].value["text"] == "two\nlines"


def test_an_empty_file_has_no_rows(tmp_path):
    path = write(tmp_path, "a.json", " \n")
    assert list(read_json_rows(path)) == list(read_lines(path)) == list(read_csv_rows(path)) == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[\n{"a": 1},\n{"a" 2}]', 3),
        ('[\n{"a": 1}\n{"a": 2}]', 3),
        ('[\n{"a": 1},\n', 3),
        ('[\n{"a": 1}', 2),
        ('{"a": 1}\n\n{"a": ', 3),
    ],
)
def test_bad_json_is_told_with_its_line(tmp_path, text, line):
    path = write(tmp_path, "bad.json", text)
    with pytest.raises(WorkloadError, match=rf"bad\.json, line {line}: "):
        list(read_json_rows(path))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(WorkloadError, match=r"gone\.jsonl cannot be read: No such file"):
        list(read_json_lines(tmp_path / "gone.jsonl"))


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b"x" * 9999)[:-12]])
def test_what_is_no_whole_gzip_file(tmp_path, content):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(WorkloadError, match="no whole gzip file"):
        list(read_lines(path))


def test_what_is_no_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WorkloadError, match="no UTF-8"):
        list(read_lines(path))
