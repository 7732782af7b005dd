"""``headrace bench`` as a user types it, against the mock server.

In this process, but for what needs one of its own: signals, and what is imported.
"""

import asyncio
import csv
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from typer.testing import CliRunner, Result

from headrace.cli.bench.options import repeat_flag
from headrace.cli.main import build_app
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.servers.scripted_server import Reply, ScriptedServer, Then, whole

COMMAND = [sys.executable, "-m", "headrace", "bench"]
ALLOW = "--allow-client-bound"  # a busy machine shall not fail these tests


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    command = (sys.executable, "-m", "headrace.testing.servers.mock_server")
    pace = ("--tokens-per-s", "1000", "--first-token-s", "0.01")
    with ServerProcess(*pace, command=command) as server:
        yield server.url


def bench(*arguments: str, code: int = 0) -> Result:
    words = ["bench", *arguments]
    with patch.object(sys, "argv", ["headrace", *words]):
        done = CliRunner().invoke(build_app(words), words)
    assert done.exit_code == code, done.output
    return done


def runs_of(done: Result) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = json.loads(done.stdout)["runs"]
    return runs


def test_load_prints_like_hey_and_asks_for_the_model(url: str) -> None:
    asked = ("--prompt", "Singapore is a", "--max-tokens", "8")
    text = bench("load", "--base-url", url, "-c", "5", "-n", "20", *asked, ALLOW).stdout
    for heading in ("Summary", "Response time histogram", "Latency distribution"):
        assert f"{heading}:" in text
    assert "[200] 20 responses" in text


def test_serve_writes_a_table_a_file_and_a_csv(url: str, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(f'{{"prompt": "tell of {i}"}}\n' for i in range(6)))
    done = bench(
        *("serve", "--base-url", f"{url}/v1", "--model", "mock"),
        *("--dataset", "prompts", "--dataset-path", str(prompts), "--output-len", "6"),
        *("--request-rate", "100", "--num-prompts", "6", "--api-key", "sk-secret"),
        *("--goodput", "ttft:500", "itl:50", "--output", str(tmp_path / "r.json")),
        *("--csv", str(tmp_path / "r.csv"), "--save-records", ALLOW),
    )
    assert "6 answered" in done.stdout
    assert "within ttft 500 ms, itl 50 ms" in done.stdout
    written = (tmp_path / "r.json").read_text()
    assert "sk-secret" not in written + done.stdout + done.stderr
    result = json.loads(written)
    assert result["kind"] == "serve"
    assert result["command"][:3] == ["headrace", "bench", "serve"]
    (run,) = result["runs"]
    assert run["figures"]["num_output_tokens"] == 36
    assert len(run["records"]) == 6
    with (tmp_path / "r.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 6


def test_two_draws_are_different_and_the_same_seed_is_the_same(url: str) -> None:
    sweep = ("sweep", "--base-url", url, "--num-prompts", "4", "--output-len", "4", ALLOW)
    runs = runs_of(bench(*sweep, "--concurrency", "1,2", "--json", "--seed", "3"))
    assert [run["setting"]["seed"] for run in runs] == [3, 4]
    assert [run["setting"]["concurrency"] for run in runs] == [1, 2]


def test_sweep_over_rates(url: str) -> None:
    sweep = ("sweep", "--base-url", url, "--num-prompts", "4", "--output-len", "4", ALLOW)
    done = bench(*sweep, "--request-rates", "20,40,80")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("requests/s offered")
    assert [line.split()[0] for line in lines[1:]] == ["20", "40", "80"]
    done = bench(*sweep, code=1)
    assert "either --request-rates" in done.stderr


def test_compare(url: str) -> None:
    done = bench(
        *("compare", "--target", f"a={url}", "--target", f"b={url}#mock", "--rounds", "2"),
        *("--num-prompts", "4", "--output-len", "4", "-c", "2", "--json", ALLOW),
    )
    result = json.loads(done.stdout)
    assert [run["target"] for run in result["runs"]] == ["a", "b", "b", "a"]
    ratio = next(each for each in result["comparison"] if each["figure"] == "latency_s_p50")
    assert len(ratio["rounds"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "--goodput", "speed:5"], "--goodput speed:5"),
        (["serve", "--extra-body", "{"], "--extra-body is not valid JSON"),
        (["serve", "--extra-body", "[]"], "--extra-body must be a JSON object"),
        (["serve", "--dataset", "sharegpt"], "needs its file"),
        (["sweep", "--concurrency", "1,x"], "comma-separated numbers"),
        (["compare", "--target", "a"], "NAME=URL"),
        (["serve", "--num-prompts", "0"], "--num-prompts must be at least 1 and at most"),
        (["serve", "--dataset-path", "f.json"], "Say with --dataset what f.json is"),
        (["serve", "--timeout-s", "0"], "--timeout-s must be at least 0.001 and at most"),
        (["serve", "--num-warm-ups", "-1"], "--num-warm-ups must be at least 0 and at most"),
        (["load", "--base-url", "http://127.0.0.1:1"], "the server is up"),
    ],
)
def test_mistakes_are_told_on_one_line(arguments: list[str], message: str) -> None:
    done = bench(*arguments, code=1)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    "command",
    [
        ["serve"],
        ["load"],
        ["sweep", "--concurrency", "1"],
        ["compare", "--target", "a=http://127.0.0.1:1#m", "--target", "b=http://127.0.0.1:1#m"],
        ["latency", "--model", "there is no such model"],
    ],
)
def test_a_file_that_cannot_be_written_is_told_before_anything_is_asked(
    command: list[str], tmp_path: Path
) -> None:
    for flag in ("--output", "--csv"):
        done = bench(*command, flag, str(tmp_path), code=1)
        assert done.stderr == f"Error: Cannot write {tmp_path}: it is a folder.\n"


def test_two_files_must_differ(tmp_path: Path) -> None:
    same = str(tmp_path / "r.json")
    assert "same file" in bench("serve", "--output", same, "--csv", same, code=1).stderr
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize(
    ("command", "shown", "signals"),
    [
        (("serve", "-c", "1", "--num-prompts", "100"), "95 more were planned", [signal.SIGINT]),
        (("serve", "-c", "1", "--num-prompts", "100"), "95 more were", [signal.SIGINT] * 5),
        (("serve", "-c", "1", "--num-prompts", "100"), "95 more were", [signal.SIGTERM]),
        (("load", "-c", "1", "-n", "100"), "[200] 5 responses", [signal.SIGHUP, signal.SIGINT]),
        (("sweep", "--concurrency", "1,2", "--num-prompts", "4"), "concurrency", [signal.SIGINT]),
    ],
)
def test_ctrl_c_keeps_what_was_measured(
    command: tuple[str, ...], shown: str, signals: list[signal.Signals], tmp_path: Path
) -> None:
    """The server answers what it is asked of itself and five requests; then it hangs."""
    file = tmp_path / "r.json"
    # With two at a time, the client has an answer when it has sent the next request but one.
    num_sent = 9 if command[0] == "sweep" else 8
    answer = {
        "choices": [{"text": "answer", "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }

    async def main() -> tuple[int | None, str, str]:
        async with ScriptedServer([*[whole(answer)] * 7, Reply((), Then.HANG)]) as server:
            asked = ("--base-url", server.base_url, "--model", "m", "--no-stream")
            process = await asyncio.create_subprocess_exec(
                *(*COMMAND, *command, *asked, "--num-warm-ups", "0", ALLOW, "-o", str(file)),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            try:
                async with asyncio.timeout(120):
                    while len(server.requests) < num_sent:
                        await asyncio.sleep(0.01)
                    for each in signals:
                        process.send_signal(each)
                    out, err = await process.communicate()
            finally:
                if process.returncode is None:
                    process.kill()
        return process.returncode, out.decode(), err.decode()

    code, out, err = asyncio.run(main())
    assert code in [128 + each for each in signals], err
    assert shown in out
    assert "Results up to that point are reported." in err
    runs = json.loads(file.read_text())["runs"]
    assert [run["is_interrupted"] for run in runs] == [False] * (command[0] == "sweep") + [True]
    assert sum(run["figures"]["num_successful"] for run in runs) == 5
    assert sum(run["figures"]["num_failed"] for run in runs) == 0


@pytest.mark.parametrize(
    ("words", "num_answered"),
    [
        (("sweep", "--base-url", "{url}", "--concurrency", "1,2", "--no-stream"), 2 + 3),
        (("compare", "--target", "a={url}", "--target", "b={url}", "--no-stream"), 4 + 3),
        (("experiment", "--base-url", "{url}", "--mode", "sync"), 2 + 3),
    ],
)
def test_a_kill_loses_the_run_under_way_alone(
    words: tuple[str, ...], num_answered: int, tmp_path: Path
) -> None:
    """The server answers the questions about itself and one run of three requests, and hangs."""
    results = tmp_path / "results"
    few = ("--model", "m", "--num-prompts", "3", "--num-warm-ups", "0", ALLOW)
    is_folder = words[0] == "experiment"
    output = ("--output-dir", results) if is_folder else ("--output", results / "r.json")
    answer = whole({"choices": [{"text": "a", "finish_reason": "stop"}]})

    async def main() -> None:
        replies = [*[answer] * num_answered, Reply((), Then.HANG)]
        async with ScriptedServer(replies) as server:
            process = await asyncio.create_subprocess_exec(
                *(*COMMAND, *(each.format(url=server.base_url) for each in words), *few),
                *map(str, output),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                async with asyncio.timeout(120):
                    while len(server.requests) <= num_answered:
                        await asyncio.sleep(0.01)
            finally:
                process.kill()
                await process.wait()

    asyncio.run(main())
    (file,) = results.glob("*.json")
    (run,) = json.loads(file.read_text())["runs"]
    assert run["figures"]["num_successful"] == 3
    assert not run["is_interrupted"]


def test_nothing_answered_is_a_failure(url: str) -> None:
    done = bench(
        *("load", "--base-url", "http://127.0.0.1:1", "--model", "m", "-n", "3"),
        *("--num-warm-ups", "0", ALLOW),
        code=1,
    )
    assert "[3] connect" in done.stdout
    assert "All requests failed" in done.stderr


@pytest.mark.parametrize(
    ("typed", "spread"),
    [
        (["--goodput", "a", "b", "-c", "5"], ["--goodput", "a", "--goodput", "b", "-c", "5"]),
        (["--goodput", "a", "--goodput", "b"], ["--goodput", "a", "--goodput", "b"]),
        (["-c", "5", "--goodput", "a"], ["-c", "5", "--goodput", "a"]),
        (["-c", "5", "6"], ["-c", "5", "6"]),
    ],
)
def test_goodput_may_be_followed_by_several(typed: list[str], spread: list[str]) -> None:
    assert repeat_flag("--goodput", typed) == spread


def test_help_is_there_and_loads_no_engine() -> None:
    code = (
        "import sys; from headrace.cli.bench import build_app; build_app(); "
        "assert not {'torch', 'numpy', 'transformers', 'matplotlib'} & set(sys.modules), "
        "sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=180)
    for command in ("serve", "load", "sweep", "compare", "throughput", "latency"):
        assert "--output" in bench(command, "--help").stdout
