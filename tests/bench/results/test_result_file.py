"""A result written and read again, and the requests as CSV."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.bench.errors import ResultFileError
from headrace.bench.figures.goodput import GoodputLimits
from headrace.bench.figures.run_figures import figures_of
from headrace.bench.http.server_info import ServerInfo
from headrace.bench.memory.memory_watch import MemorySample, MemoryUse
from headrace.bench.records import ClientHealth, Failure, RequestRecord
from headrace.bench.results.request_csv import COLUMNS, RequestCsv
from headrace.bench.results.result_file import (
    SCHEMA,
    BenchResult,
    RunResult,
    new_result,
    read_result,
    to_json,
    write_result,
)

RECORDS = [
    RequestRecord(
        index=0,
        sent_s=0.0,
        first_token_s=0.25,
        ended_s=0.5,
        chunk_times_s=[0.25, 0.5],
        num_prompt_tokens=3,
        num_output_tokens=3,
        status=200,
        finish_reason="stop",
        text="a, b",
    ),
    RequestRecord(index=1, sent_s=0.0, ended_s=0.1, failure=Failure.CONNECT, error="refused, so"),
]


def result() -> BenchResult:
    run = RunResult(
        target="server",
        base_url="http://127.0.0.1:8000",
        server=ServerInfo("m", {"id": "m", "max_model_len": 64}, "1.0", "bfloat16"),
        setting={"arrivals": "rate", "request_rate": "inf"},
        figures=figures_of(RECORDS, 0.5, GoodputLimits(ttft=1.0)),
        client=ClientHealth(cpu_share=0.1, loop_lag_p99_s=0.001, send_lag_p99_s=0.0),
        client_bound="The client slept.",
        memory=MemoryUse(100, None, None, [1], [MemorySample(-0.5, 90, None)]),
        records=RECORDS,
    )
    return new_result("serve", ["headrace", "bench", "serve"], 7, runs=[run])


def test_results_round_trip(tmp_path: Path) -> None:
    written = result()
    write_result(tmp_path / "new" / "r.json", written)
    assert read_result(tmp_path / "new" / "r.json") == written
    assert written.client_bound == ["The client slept."]


def test_results_record_their_origin() -> None:
    document = json.loads(to_json(result()))
    assert document["schema"] == SCHEMA
    assert document["seed"] == 7
    assert document["command"] == ["headrace", "bench", "serve"]
    assert {"python", "headrace", "numpy"} <= set(document["versions"])
    assert document["machine"]["memory_bytes"] > 0
    assert document["machine"]["cpu"]
    assert document["runs"][0]["figures"]["failures"] == {"connect": 1}


def nested(depth: int) -> object:
    value: object = "deep"
    for _ in range(depth):
        value = {"in": [value]}
    return value


ODD = {
    "half a character": "\ud800",
    "half a character as key": {"\udfff": 1},
    "a number of 400 digits": 10**400,
    "a nested value": nested(100),
    "a deeply nested value": nested(5_000),
    "an object": object(),
    "a path that is not UTF-8": Path("a\udcffb"),
    "no number": float("nan"),
    "a set": {1, 2},
}


@pytest.mark.parametrize("name", ODD)
def test_any_value_can_be_stored(tmp_path: Path, name: str) -> None:
    """Values from servers and command lines."""
    good = result()
    (run,) = good.runs
    server = ServerInfo("m", {"id": "m", "odd": ODD[name]})
    run = replace(run, server=server, setting={"odd": ODD[name]}, target="a\udcff")
    written = replace(good, runs=[run], command=["headrace", "\udcff"])
    write_result(tmp_path / "r.json", written)
    read = read_result(tmp_path / "r.json")
    assert read.runs[0].figures == run.figures
    assert read.runs[0].records == RECORDS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no json", "not a result"),
        ("[1]", "not a result"),
        ('{"schema": "headrace.bench/99"}', "has the format headrace.bench/99"),
        (f'{{"schema": "{SCHEMA}"}}', "is damaged"),
    ],
)
def test_invalid_result_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(ResultFileError, match=message):
        read_result(path)


def test_a_file_of_another_version_of_the_schema_can_be_read(tmp_path: Path) -> None:
    """Later versions add fields; earlier ones lack fields that have a default."""
    path = tmp_path / "r.json"
    written = result()
    write_result(path, written)
    content = json.loads(path.read_text())
    content["added_later"] = {"a": 1}
    content["runs"][0]["figures"]["added_later"] = 1.5
    del content["sweep"]
    del content["runs"][0]["problem"]
    path.write_text(json.dumps(content))
    assert read_result(path) == written


def test_inaccessible_files_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ResultFileError, match="Cannot read"):
        read_result(tmp_path / "none.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultFileError, match="Cannot write"):
        write_result(tmp_path / "file" / "r.json", result())


def test_the_csv_has_a_row_per_request(tmp_path: Path) -> None:
    rows = RequestCsv()
    rows.add_run("a", RECORDS)
    rows.add_run("b", RECORDS[:1])
    rows.write(tmp_path / "requests.csv")
    with (tmp_path / "requests.csv").open(newline="") as stream:
        read = list(csv.DictReader(stream))
    assert tuple(read[0]) == COLUMNS
    assert [(row["run"], row["target"]) for row in read] == [("0", "a"), ("0", "a"), ("1", "b")]
    first, failed = read[:2]
    assert float(first["ttft_s"]) == 0.25
    assert float(first["tpot_s"]) == 0.125
    assert float(first["generation_tokens_per_s"]) == 6.0
    assert first["num_chunks"] == "2"
    assert (failed["failure"], failed["error"], failed["ttft_s"]) == ("connect", "refused, so", "")
