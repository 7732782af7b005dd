"""``headrace bench experiment`` and ``report`` as a user types them, against the mock server."""

import csv
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.testing.processes.server_process import ServerProcess

CODE = "import sys; from headrace.cli.bench import build_app; build_app(sys.argv[1:])()"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    command = (sys.executable, "-m", "headrace.testing.servers.mock_server")
    with ServerProcess("--tokens-per-s", "2000", command=command) as server:
        yield server.url


def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


def test_from_an_experiment_to_a_page(url: str, tmp_path: Path) -> None:
    results, page = tmp_path / "results", tmp_path / "out" / "report.html"
    asked = ("--base-url", url, "--output-dir", str(results), "--allow-client-bound")
    few = ("--repeat", "2", "--num-prompts", "3", "--max-tokens", "4")
    done = run("experiment", *asked, *few, "--task", "summarization", "--parallel", "2")
    assert "headrace bench report" in done.stdout
    with (results / "summary.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["parallel"], row["num_requests"]) for row in rows] == [("1", "6"), ("2", "6")]
    assert {row["task"] for row in rows} == {"summarization"}
    assert float(rows[0]["p2ft_s_p50"]) > 0

    run("report", str(results), "-o", str(page), "--png", str(tmp_path / "png"))
    assert "Total latency by task" in page.read_text()
    assert len(list((tmp_path / "png").glob("*.png"))) >= 4


def test_own_prompts_and_own_name(url: str, tmp_path: Path) -> None:
    prompts = tmp_path / "mine.txt"
    prompts.write_text("One\nTwo\n")
    asked = ("--base-url", url, "--output-dir", str(tmp_path), "--allow-client-bound")
    mine = ("--prompts", str(prompts), "--server-name", "my server", "--mode", "sync")
    run("experiment", *asked, *mine, "--repeat", "1", "--task", "code")
    with (tmp_path / "my-server_mock_code_sync_p1.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["server"] for row in rows] == ["my server"] * 2


def test_a_server_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    done = run("experiment", "--base-url", "http://127.0.0.1:9", "--repeat", "1", code=1)
    assert done.stderr.startswith("Error: No response from http://127.0.0.1:9")
    done = run("report", str(tmp_path), code=1)
    assert done.stderr.startswith("Error: There is no result in")
