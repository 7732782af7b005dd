"""What was measured is kept, whatever fails after it: each part of the way to a result is broken in
turn, in the real command, and the result is there with the reason."""

import csv
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.testing.processes.server_process import ServerProcess

NUM_REQUESTS = 6
FAULTS = {
    "building a request": "http.request_body.RequestEncoder.encode",
    "reading an answer": "http.response_reader.ResponseReader.finish",
    "closing the client": "http.client.Client.close",
    "counting tokens": "figures.token_counter.TokenCounter.count_all",
    "watching memory": "memory.memory_watch.MemoryWatch.use",
    "figures": "measurement.figures_of",
    "the setting": "measurement.describe_arrivals",
    "the table": "results.tables.run_tables",
    "the CSV": "results.request_csv.write_csv",
    "the result": "results.result_file.to_json",
}
"""What is broken, and where in ``headrace.bench``."""
LATER = {"building a request": 2 * NUM_REQUESTS - 2, "reading an answer": NUM_REQUESTS - 2}
"""Calls that go well before: every request is built once before the run, as a check."""
BREAK = """
import importlib, sys
def broken(*arguments, **options):
    global num_left
    num_left -= 1
    if num_left < 0:
        raise {error}
    return whole(*arguments, **options)
path = "headrace.bench.{where}".split(".")
owner = importlib.import_module(".".join(path[: next(
    n for n, part in enumerate(path) if part[0].isupper() or n == len(path) - 1)]))
for part in path[len(owner.__name__.split(".")) : -1]:
    owner = getattr(owner, part)
whole, num_left = getattr(owner, path[-1]), {num_left}
setattr(owner, path[-1], broken)
from headrace.cli.bench import build_app
build_app(sys.argv[1:])()
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    command = (sys.executable, "-m", "headrace.testing.servers.mock_server")
    with ServerProcess(command=command) as server:
        yield server.url


def run(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


def serve(url: str, folder: Path) -> list[str]:
    return [
        *("serve", "--base-url", url, "--num-prompts", str(NUM_REQUESTS), "-c", "1"),
        *("--output-len", "4", "--num-warm-ups", "0", "--allow-client-bound", "--save-records"),
        *("--output", str(folder / "r.json"), "--csv", str(folder / "r.csv")),
    ]


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("error", ["ValueError('odd')", "KeyboardInterrupt", "OSError(28, 'full')"])
def test_what_was_measured_is_kept(
    name: str, error: str, url: str, tmp_path: Path, tokenizer: Path
) -> None:
    code = BREAK.format(where=FAULTS[name], error=error, num_left=LATER.get(name, 0))
    done = run(code, *serve(url, tmp_path), "--tokenizer", str(tokenizer))
    assert done.returncode == (130 if error == "KeyboardInterrupt" else 1), done.stderr
    assert {"K": "Interrupted", "V": "odd", "O": "full"}[error[0]] in done.stderr

    num_kept = NUM_REQUESTS - 2 if name in LATER else NUM_REQUESTS
    if name != "the result":
        (kept,) = json.loads((tmp_path / "r.json").read_text())["runs"]
        assert len(kept["records"]) == kept["figures"]["num_successful"] == num_kept
        assert kept["is_interrupted"] == (num_kept < NUM_REQUESTS)
    if name != "the CSV":
        with (tmp_path / "r.csv").open() as stream:
            assert len(list(csv.DictReader(stream))) == num_kept
    if name != "the table":
        assert f"{num_kept} answered" in done.stdout


def test_a_terminal_that_is_gone_ends_the_display_alone(url: str, tmp_path: Path) -> None:
    where = "load.live_progress.describe_rate"
    code = BREAK.format(where=where, error="OSError(5, 'no terminal')", num_left=0)
    code = f"import sys; sys.stderr.isatty = lambda: True\n{code}"
    done = run(code, *serve(url, tmp_path))
    assert done.returncode == 0, done.stderr
    assert f"{NUM_REQUESTS} answered" in done.stdout


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from headrace.testing.models.tiny_tokenizer import build_tokenizer

    path: Path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    build_tokenizer(258).save(str(path))
    return path


PLAIN = "import sys; from headrace.cli.bench import build_app; build_app(sys.argv[1:])()"


def test_a_folder_that_is_gone_by_the_end_leaves_a_file_elsewhere(url: str, tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "results", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    code = f"""
import shutil, pathlib
from headrace.bench.load.load_generator import LoadRun
run = LoadRun.run
async def and_then(self):
    result = await run(self)
    shutil.rmtree({str(folder)!r})
    pathlib.Path({str(folder)!r}).touch()
    return result
LoadRun.run = and_then
{PLAIN}
"""
    done = run(code, *serve(url, folder), env={**os.environ, "TMPDIR": str(elsewhere)})
    assert done.returncode == 1
    assert "answered" in done.stdout
    for name in ("r.json", "r.csv"):
        (place,) = elsewhere.glob(f"*/{name}")
        assert f"Wrote {place} instead." in done.stderr
    (kept,) = json.loads(next(elsewhere.glob("*/r.json")).read_text())["runs"]
    assert len(kept["records"]) == NUM_REQUESTS


def test_a_disk_that_fills_up_leaves_what_was_there_and_the_table(url: str, tmp_path: Path) -> None:
    """As if: no file of this process may be longer than 5,000 bytes."""
    (tmp_path / "r.json").write_text("old")
    done = run(
        PLAIN,
        *serve(url, tmp_path),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000)),
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert "6 answered" in done.stdout
    assert (tmp_path / "r.json").read_text() == "old"
    with (tmp_path / "r.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == NUM_REQUESTS


@pytest.mark.parametrize("command", ["serve", "load", "sweep", "compare", "experiment"])
def test_an_output_without_room_is_found_before_anything_is_sent(
    command: str, tmp_path: Path
) -> None:
    nowhere = "http://127.0.0.1:1"
    arguments = {
        "serve": ["serve", "--base-url", nowhere],
        "load": ["load", "--base-url", nowhere],
        "sweep": ["sweep", "--base-url", nowhere, "--concurrency", "1"],
        "compare": ["compare", "--target", f"a={nowhere}", "--target", f"b={nowhere}"],
        "experiment": ["experiment", "--base-url", nowhere, "--output-dir", str(tmp_path)],
    }[command]
    with open("/dev/full", "w") as full:
        done = run(PLAIN, *arguments, stdout=full)
    assert done.stderr == "Error: Cannot write to stdout: No space left on device.\n"
    assert done.returncode == 1
    folder = (
        ["--output-dir", "/proc/x"] if command == "experiment" else ["--output", "/proc/x.json"]
    )
    done = run(PLAIN, *arguments, *folder)
    assert done.stderr.startswith("Error: Cannot write into /proc")
    assert done.returncode == 1


def test_stdout_that_is_closed_is_found_before_anything_is_sent() -> None:
    code = f"import os; os.close(1)\nimport sys; sys.stdout = None\n{PLAIN}"
    done = run(code, "serve", "--base-url", "http://127.0.0.1:1")
    assert done.stderr == "Error: Cannot write to stdout: it is closed.\n"


def test_a_terminal_of_another_encoding_gets_the_histogram(url: str) -> None:
    arguments = ("load", "--base-url", url, "-n", "3", "--max-tokens", "2", "--allow-client-bound")
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = run(PLAIN, *arguments, env=env)
    assert done.returncode == 0, done.stderr
    assert "\\u25a0" in done.stdout
    done = run(PLAIN, *arguments, "--json", env=env)
    assert json.loads(done.stdout)["kind"] == "load"
