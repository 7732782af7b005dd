"""The API key stands in nothing that a command prints or writes, though the server repeats it."""

import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

KEY = "sk-bench-0123456789"
COUNT = itertools.count()


class _Repeating(BaseHTTPRequestHandler):
    """Puts the key that it was sent into whatever it answers; each third POST is refused."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        text = f"who has {self.headers['Authorization']}"
        if self.path == "/version":
            self._answer(200, {"version": text})
        else:
            self._answer(200, {"data": [{"id": "m", "owned_by": text, "seen": [{text: text}]}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        text = f"who has {self.headers['Authorization']}"
        if next(COUNT) % 3 == 2:
            self._answer(400, {"error": {"message": f"Wrong key: {text}", "code": text}})
            return
        message = {"role": "assistant", "content": text}
        choice = {"text": text, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 2, "completion_tokens": 2}
        self._answer(200, {"choices": [choice], "usage": usage})

    def _answer(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Repeating) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def everything_said(folder: Path, *arguments: str, **env: str) -> str:
    """What the command prints, and all files that it leaves in the folder."""
    done = subprocess.run(
        [sys.executable, "-m", "headrace", "bench", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder), **env},
    )
    files = [path for path in folder.rglob("*") if path.is_file()]
    names = [str(path.relative_to(folder)) for path in files]
    contents = [path.read_text(errors="replace") for path in files]
    return "\n".join([done.stdout, done.stderr, *names, *contents])


FEW = ("--num-prompts", "4", "--output-len", "2", "--no-stream", "--num-warm-ups", "1")
KEEP = ("--allow-client-bound", "--save-text", "-o", "r.json", "--csv", "r.csv")


@pytest.mark.parametrize(
    "arguments",
    [
        ("serve", *FEW, *KEEP),
        ("serve", *FEW, *KEEP, "--json"),
        ("serve", *FEW, *KEEP, "--extra-body", json.dumps({"user": KEY, "api_key": KEY})),
        ("load", "-n", "5", "--no-stream", *KEEP),
        ("load", "-n", "5", "--num-warm-ups", "0", *KEEP),  # asks for streams, and gets none
        ("sweep", "--concurrency", "1,2", *FEW, *KEEP),
        ("compare", "--target", "a={url}", "--target", "b={url}", "--rounds", "1", *FEW, *KEEP),
        (
            *("experiment", "--mode", "sync", "--repeat", "2", "--num-prompts", "4"),
            *("--allow-client-bound", "--output-dir", "results"),
        ),
    ],
)
def test_no_output_has_the_key(arguments: tuple[str, ...], url: str, tmp_path: Path) -> None:
    words = [each.format(url=url) if "{url}" in each else each for each in arguments]
    if words[0] != "compare":
        words += ["--base-url", url]
    said = everything_said(tmp_path, *words, "--api-key", KEY)
    assert "who has Bearer ***" in said
    assert KEY not in said


def test_no_output_has_the_key_of_the_environment(url: str, tmp_path: Path) -> None:
    said = everything_said(tmp_path, "serve", "--base-url", url, *FEW, *KEEP, OPENAI_API_KEY=KEY)
    assert "who has Bearer ***" in said
    assert KEY not in said


@pytest.mark.parametrize(
    "arguments",
    [
        ("--base-url", "http://127.0.0.1:1", "--api-key", KEY),
        ("--base-url", "http://127.0.0.1:1", "--api-key", KEY, "--model", "m"),
        ("--base-url", "http://127.0.0.1:1", "--api-key", f"{KEY}\r\nX-Other: 1"),
        ("--base-url", "http://127.0.0.1:1", "--api-key", f"{KEY}\r\nX: 1", "--model", "m"),
        ("--base-url", "http://127.0.0.1:1", "--api-key", f"{KEY}\udcff"),
        ("--base-url", f"http://me:{KEY}@127.0.0.1:1"),
        ("--base-url", f"http://me:{KEY}/x@127.0.0.1:1"),
        ("--base-url", f"http://{KEY}@127.0.0.1:99999"),
        ("--base-url", f"http://127.0.0.1:1/?api_key={KEY}"),
        ("--extra-body", f'{{"api_key": "{KEY}", "n": NaN}}'),
    ],
)
def test_no_error_has_the_key(arguments: tuple[str, ...], tmp_path: Path) -> None:
    said = everything_said(tmp_path, "load", "-n", "2", *arguments)
    assert "Error" in said
    assert KEY not in said


def test_an_empty_key_is_refused(tmp_path: Path) -> None:
    for model in ((), ("--model", "m")):
        said = everything_said(tmp_path, "load", "--api-key", "", *model)
        assert "--api-key is empty" in said
