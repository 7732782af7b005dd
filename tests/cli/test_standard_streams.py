"""Commands whose output cannot be written, as processes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headrace.control.resources import RunState
from headrace.testing.processes.control_api import ControlApi

TIMEOUT_S = 180.0
COMMANDS = [
    ("--version",),
    ("--help",),
    ("schema", "revision"),
    ("models", "list"),
    ("models", "list", "--json"),
    ("service", "list"),
    ("service", "list", "--json"),
    ("service", "events", "openllm"),
    ("revision", "list", "--service", "openllm"),
    ("run", "list"),
    ("run", "logs", "RUN"),
    ("secret", "create", "hub"),
    ("token", "list"),
    ("status", "--json"),
]
COMMAND = [sys.executable, "-m", "headrace"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """For commands that talk to a control plane with a service and a run."""
    folder = tmp_path_factory.mktemp("api")
    api = ControlApi(folder)
    try:
        with api.serving() as url:
            env = {
                **{name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"},
                "HEADRACE_API_URL": url,
                "HEADRACE_API_TOKEN": api.admin_token,
                "HEADRACE_HOME": str(folder / "home"),
            }
            subprocess.run([*COMMAND, "service", "create", "openllm"], env=env, check=True)
            made = subprocess.run(
                [*COMMAND, "run", "create", "-f", "-"],
                env=env,
                check=True,
                input=b"run: echo",
                capture_output=True,
            )
            run_id = made.stdout.decode().split("#")[1][:12]
            log = folder / "runs" / run_id / "log"
            log.parent.mkdir(parents=True)
            log.write_text("a line\n" * 100_000)
            with api.store.begin() as tx:
                states = RunState.PENDING, RunState.IMPORTING
                tx.change_run(run_id, *states, datetime.now(UTC), folder=str(log.parent))
            yield {**env, "RUN_ID": run_id}
    finally:
        api.close()


def run(
    arguments: tuple[str, ...], env: dict[str, str], redirection: str
) -> subprocess.CompletedProcess[str]:
    words = " ".join(env["RUN_ID"] if word == "RUN" else word for word in arguments)
    return subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -m headrace {words} {redirection}"],
        env=env,
        input="sesame\n",
        stderr=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_full_disk_is_one_line(arguments: tuple[str, ...], environment: dict[str, str]) -> None:
    done = run(arguments, environment, ">/dev/full")
    assert done.returncode == 1
    assert done.stderr == "Error: Cannot write output: No space left on device.\n"


@pytest.mark.parametrize("arguments", [COMMANDS[0], COMMANDS[3], COMMANDS[5]], ids=" ".join)
def test_a_closed_stdout_is_one_line(
    arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    done = run(arguments, environment, ">&-")
    assert done.returncode == 1
    assert done.stderr == "Error: Cannot write output: Bad file descriptor.\n"
    assert run(arguments, environment, ">&- 2>&-").returncode == 1
    assert run(arguments, environment, ">&- 2>&- <&-").returncode == 1


@pytest.mark.parametrize("arguments", [COMMANDS[2], COMMANDS[5], COMMANDS[10]], ids=" ".join)
def test_a_broken_pipe_prints_no_error(
    arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    words = [environment["RUN_ID"] if word == "RUN" else word for word in arguments]
    process = subprocess.Popen(
        [*COMMAND, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    _, output = process.communicate(timeout=TIMEOUT_S)
    assert output == b""
    assert process.returncode == 1


def test_an_undecodable_argument_prints_no_traceback(
    environment: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [*COMMAND, "schema", os.fsdecode(b"\xff")],
        env={**environment, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
