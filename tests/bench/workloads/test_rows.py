import gzip
import json
import os
from contextlib import suppress

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
def test_arrays_and_json_lines_give_the_same_rows(tmp_path_factory, wanted):
    folder = tmp_path_factory.mktemp("rows")
    array = write(folder, "a.json", json.dumps(wanted, indent=2))
    lines = write(folder, "a.jsonl", "".join(json.dumps(one) + "\n" for one in wanted))
    assert values(read_json_rows(array)) == wanted
    assert values(read_json_rows(lines)) == wanted


def test_rows_have_line_numbers(tmp_path):
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
def test_invalid_json_is_an_error_with_its_line(tmp_path, text, line):
    path = write(tmp_path, "bad.json", text)
    with pytest.raises(WorkloadError, match=rf"bad\.json, line {line}: "):
        list(read_json_rows(path))


def test_a_missing_file(tmp_path):
    with pytest.raises(WorkloadError, match=r"gone\.jsonl cannot be read: No such file"):
        list(read_json_lines(tmp_path / "gone.jsonl"))


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b"x" * 9999, mtime=0)[:-12]])
def test_a_damaged_gzip_file(tmp_path, content):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(WorkloadError, match="no whole gzip file"):
        list(read_lines(path))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"\xff\xfe\x00", 1),  # UTF-16 with its byte order mark
        (b"good\r\n\r\nb\xe9ton\n", 3),
        (b"good\n" * 9_999 + "é".encode()[:1], 10_000),
    ],
)
@pytest.mark.parametrize("read", [read_lines, read_json_rows, read_csv_rows])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_invalid_utf_8_is_an_error_with_its_line(tmp_path, content, line, read, suffix):
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(gzip.compress(content) if suffix else content)
    with pytest.raises(WorkloadError, match=rf"line {line}: This is no UTF-8"):
        list(read_lines(path))


def test_foreign_line_endings(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n{"a": 2}\r{"a": 3}')
    assert [(row.line, row.value["a"]) for row in read_json_rows(path)] == [(1, 1), (3, 2), (4, 3)]


def test_the_last_of_duplicate_keys_is_used(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"a": 1, "a": 2}\n')
    assert values(read_json_rows(path)) == [{"a": 2}]


def test_texts_may_contain_any_character(tmp_path):
    text = "\x00\x1b\u2028\ufffe\U0001f600"
    for ascii_only in (True, False):
        path = write(tmp_path, "a.jsonl", json.dumps({"a": text}, ensure_ascii=ascii_only) + "\n")
        assert values(read_json_rows(path)) == [{"a": text}]


@pytest.mark.parametrize(
    "value",
    [
        '{"a": "\\ud800"}',
        '{"a": [{"b": "x\\uDFFFy"}]}',
        '{"\\ud83d": 1}',
        '"\\ud83d \\ude00"',
        *('{"a": NaN}', '{"a": -Infinity}'),
        '{"a": ' + "1" * 5_000 + "}",
        "[" * 100_000 + "]" * 100_000,
    ],
)
@pytest.mark.parametrize("is_array", [True, False])
def test_unencodable_values_are_errors_with_their_line(tmp_path, value, is_array):
    good = '{"a": "\\ud83d\\ude00"}'
    text = f"[{good},\n{value}]" if is_array else f"{good}\n{value}\n"
    path = write(tmp_path, "bad.jsonl", text)
    with pytest.raises(WorkloadError, match=r"bad\.jsonl, line 2: "):
        list(read_json_rows(path))


def test_a_pipe_is_refused(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(WorkloadError, match="no regular file"):
        list(read_lines(path))


@given(st.binary(max_size=200), st.sampled_from([read_lines, read_json_rows, read_csv_rows]))
def test_any_bytes_are_rows_or_a_workload_error(tmp_path_factory, content, read):
    path = tmp_path_factory.mktemp("rows") / "any.jsonl"
    path.write_bytes(content)
    with suppress(WorkloadError):
        assert all(row.line >= 1 for row in read(path))
