"""Lines of the log for requests: one line each, whatever clients write into it."""

import json
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.gateway.request_records import RequestRecord
from headrace.gateway.reporting import request_lines
from headrace.gateway.reporting.request_lines import LogFormat, RequestLines

any_text = st.text(max_size=30)


def record(request_id: str = "a-1", path: str = "/v1/x", model: str | None = None) -> RequestRecord:
    return RequestRecord(
        *("a-1", request_id, "svc", 1000.25, "POST", path, 200, "finished", 0.5, 0.0),
        model=model,
    )


def lines_of(log_format: LogFormat, *records: RequestRecord) -> list[str]:
    written: list[str] = []
    lines = RequestLines(log_format, written.append)
    for one in records:
        lines.add(one)
    lines.flush()
    return "".join(written).split("\n")[:-1]


@given(any_text, any_text, any_text)
def test_json_lines_have_the_values_of_the_record(request_id: str, path: str, model: str) -> None:
    [line] = lines_of(LogFormat.JSON, record(request_id, path, model))
    assert json.loads(line) == {
        "time": "1970-01-01T00:16:40.250Z",
        "request_id": request_id,
        "service": "svc",
        "method": "POST",
        "path": path,
        "status": 200,
        "end": "finished",
        "model": model,
        "total_s": 0.5,
    }


@given(any_text, any_text)
def test_no_value_looks_like_another_field_or_line(request_id: str, path: str) -> None:
    [line] = lines_of(LogFormat.TEXT, record(request_id, path))
    assert line.isascii()
    assert line.isprintable()
    if "\\" not in line and "'" not in line:  # else a shell reads it in another way
        names = [word.partition("=")[0] for word in shlex.split(line)]
        assert names == [names[0], "request_id", "service", "method", "path", "status", "end",
                         "total_s"]  # fmt: skip


def test_a_text_line() -> None:
    [line] = lines_of(LogFormat.TEXT, record(model="org/a b"))
    assert line == (
        "1970-01-01T00:16:40.250Z request_id=a-1 service=svc method=POST path=/v1/x status=200 "
        'end=finished model="org/a b" total_s=0.5'
    )


def test_lines_are_written_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_lines, "MAX_NUM_BUFFERED", 3)
    written: list[str] = []
    lines = RequestLines(LogFormat.TEXT, written.append)
    lines.flush()
    for _ in range(4):
        lines.add(record())
    assert [text.count("\n") for text in written] == [3]
    lines.flush()
    assert [text.count("\n") for text in written] == [3, 1]
