"""``run-batch``, ``chat`` and ``complete`` as a user types them, with the default model."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.testing.processes.server_process import ServerProcess

pytestmark = pytest.mark.xdist_group("client_commands")

HEADRACE = (sys.executable, "-m", "headrace")
DEADLINE_S = 120


@pytest.fixture(scope="module")
def server(default_model_files: object) -> Iterator[ServerProcess]:
    with ServerProcess(env={"HEADRACE_API_KEY": "sesame"}) as process:
        yield process


def run(*arguments: str, server: ServerProcess, text: str = "", code: int = 0) -> str:
    done = subprocess.run(
        [*HEADRACE, *arguments, "--url", server.url],
        input=text,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        env={**os.environ, "HEADRACE_API_KEY": "sesame"},
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def write_batch(path: Path, number: int) -> None:
    def line(index: int) -> dict[str, Any]:
        body = {"prompt": f"{index}, {index + 1},", "max_tokens": 12, "temperature": 0}
        return {"custom_id": str(index), "url": "/v1/completions", "body": body}

    path.write_text("".join(f"{json.dumps(line(index))}\n" for index in range(number)))


def outputs_of(path: Path) -> list[tuple[str, str]]:
    lines = map(json.loads, path.read_text().splitlines())
    return [(each["custom_id"], each["response"]["body"]["choices"][0]["text"]) for each in lines]


def test_a_killed_batch_continues(server: ServerProcess, tmp_path: Path) -> None:
    batch, output, whole = (tmp_path / name for name in ("in.jsonl", "out.jsonl", "whole.jsonl"))
    write_batch(batch, 24)
    asked = ("run-batch", "-i", str(batch), "--max-concurrency", "2")
    process = subprocess.Popen(
        [*HEADRACE, *asked, "-o", str(output), "--url", server.url],
        env={**os.environ, "HEADRACE_API_KEY": "sesame"},
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + DEADLINE_S
    while not output.exists() or output.read_bytes().count(b"\n") < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    num_kept = output.read_bytes().count(b"\n")
    assert num_kept < 24
    summary = run(*asked, "-o", str(output), server=server)
    assert f"24 succeeded ({num_kept} by an earlier run), 0 failed" in summary
    run(*asked, "-o", str(whole), server=server)
    assert outputs_of(output) == outputs_of(whole)
    assert [custom_id for custom_id, _ in outputs_of(output)] == [str(i) for i in range(24)]


def test_a_batch_starts_a_server_for_itself(tmp_path: Path) -> None:
    batch, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    write_batch(batch, 2)
    with batch.open("a") as stream:
        stream.write("no request\n")
    done = subprocess.run(
        [*HEADRACE, "run-batch", "-i", str(batch), "-o", str(output), "--", "--max-model-len=64"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "2 succeeded, 1 failed" in done.stdout
    last = json.loads(output.read_text().splitlines()[-1])
    assert last["error"]["code"] == "invalid_request"


def test_a_server_that_cannot_start_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [*HEADRACE, "chat", "./no/such/model", "-q", "Hi"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if line.startswith("Error: ")] != []


def test_answers_to_lines_of_stdin(server: ServerProcess) -> None:
    asked = ("chat", "--temperature", "0", "--max-tokens", "8")
    one = run(*asked, "-q", "What is the capital of France?", server=server)
    assert "Paris" in run(*asked, text="What is the capital of France?\n", server=server)
    both = run(*asked, text="What is the capital of France?\nThanks\n", server=server)
    assert both.startswith(one)
    assert len(both) > len(one)


def test_texts_are_continued(server: ServerProcess) -> None:
    asked = ("complete", "--temperature", "0", "--max-tokens", "6")
    text = run(*asked, "-q", "1, 2, 3, 4,", server=server)
    assert text.startswith("1, 2, 3, 4, 5")
    assert run(*asked, text="1, 2, 3, 4,\n", server=server) == text


def test_an_unknown_model_names_those_that_there_are(server: ServerProcess) -> None:
    done = subprocess.run(
        [*HEADRACE, "chat", "other", "-q", "Hi", "--url", server.url, "--api-key", "sesame"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 1
    assert "smollm2-135m" in done.stderr


def test_a_chat_in_a_terminal(server: ServerProcess, tmp_path: Path) -> None:
    saved = tmp_path / "chat.json"
    with Terminal("chat", "--url", server.url, "--temperature", "0") as terminal:
        terminal.expect("> ")
        terminal.type("/set max_tokens 8\n")
        terminal.type("What is the capital of France?\n")
        terminal.expect("Paris")
        terminal.type("/stats\n")
        terminal.expect(r"\d+ prompt tokens, 8 output tokens")
        terminal.type("/set max_tokens 4000\n/set ignored 1\n")
        terminal.expect("Unknown parameter ignored")
        terminal.type("Tell me a very long story.\n")
        terminal.expect("Once|In|The|As|It")
        terminal.type("\x03")
        terminal.expect(r"\(stopped\)")
        terminal.type(f"/save {saved}\n")
        terminal.expect("Saved")
        terminal.type("/help\n")
        terminal.expect("/retry")
        terminal.type("/exit\n")
        assert terminal.wait() == 0
    messages = json.loads(saved.read_text())["messages"]
    assert [each["role"] for each in messages] == ["user", "assistant"] * 2
    assert "Paris" in messages[1]["content"]


class Terminal:
    """``headrace`` in a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        self._seen = ""

    def __enter__(self) -> "Terminal":
        self._side, other = pty.openpty()
        self._process = subprocess.Popen(
            [*HEADRACE, *self._arguments],
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
            preexec_fn=_take_terminal,
            env={**os.environ, "HEADRACE_API_KEY": "sesame", "TERM": "dumb"},
        )
        os.close(other)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._side)

    def type(self, text: str) -> None:
        os.write(self._side, text.encode())

    def expect(self, pattern: str) -> None:
        """Read until the pattern comes. Each match is of later text than the one before."""
        deadline = time.monotonic() + DEADLINE_S
        while not (match := re.search(pattern, self._seen)):
            assert time.monotonic() < deadline, self._seen
            self._seen += os.read(self._side, 65536).decode(errors="replace")
        self._seen = self._seen[match.end() :]

    def wait(self) -> int:
        return self._process.wait(DEADLINE_S)


def _take_terminal() -> None:
    """Make stdin the controlling terminal, so that Ctrl-C is a signal."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
