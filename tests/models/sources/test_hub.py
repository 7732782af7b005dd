"""Hub models through the real library, against a small hub on this machine."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = {
    "config.json": b"{}",
    "tokenizer.json": b'{"version": "1.0"}',
    "model-00001-of-00002.safetensors": b"a" * 2000,
    "model-00002-of-00002.safetensors": b"b" * 1000,
    "model.safetensors.index.json": json.dumps(
        {
            "weight_map": {
                "x": "model-00001-of-00002.safetensors",
                "y": "model-00002-of-00002.safetensors",
            }
        }
    ).encode(),
    "pytorch_model.bin": b"pickled",
    "onnx/model.safetensors": b"exported",
    "README.md": b"# A model",
}
REPOSITORIES = {
    "org/model": MODEL,
    "org/quants": {"q4.gguf": b"GGUF4", "deep/q8.gguf": b"GGUF8", "README.md": b""},
    "org/pickled": {"config.json": b"{}", "pytorch_model.bin": b"pickled"},
    "org/dataset": {"README.md": b""},
}

RESOLVE = """
import sys
from headrace.core.errors import HeadraceError
from headrace.models.sources import resolve_model
from headrace.cli.progress import progress_for_stderr
try:
    revision = sys.argv[2] if len(sys.argv) > 2 else None
    files = resolve_model(sys.argv[1], revision=revision, progress=progress_for_stderr())
    print(files.format, files.path)
except HeadraceError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


class _HubHandler(BaseHTTPRequestHandler):
    """The four requests that the library makes to get a snapshot."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = self.path.partition("?")[0].strip("/")
        if path.startswith("api/models/"):
            self._answer_api(path.removeprefix("api/models/").split("/"))
            return
        org, name, _, _, file = path.split("/", 4)
        content = REPOSITORIES[f"{org}/{name}"].get(file)
        if content is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        etag = hashlib.sha256(content).hexdigest()
        self._send(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

    def _answer_api(self, parts: list[str]) -> None:
        repo_id = "/".join(parts[:2])
        if repo_id == "org/gated":
            self._send(403, b"", {"X-Error-Code": "GatedRepo"})
        elif repo_id not in REPOSITORIES:
            self._send(401, b"", {"X-Error-Code": "RepoNotFound"})
        elif parts[3:4] not in ([], ["main"], [COMMIT]):
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        elif parts[2:3] == ["tree"]:
            self._send_json([_file(path, "path") for path in REPOSITORIES[repo_id].items()])
        else:
            siblings = [_file(path, "rfilename") for path in REPOSITORIES[repo_id].items()]
            self._send_json({"id": repo_id, "sha": COMMIT, "siblings": siblings})

    def _send_json(self, content: object) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


def _file(item: tuple[str, bytes], name_key: str) -> dict[str, object]:
    path, content = item
    oid = hashlib.sha1(content).hexdigest()
    return {name_key: path, "type": "file", "size": len(content), "oid": oid}


@pytest.fixture(scope="module")
def hub_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _HubHandler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def hub(hub_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """HF_HOME, empty; HF_ENDPOINT is our hub."""
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_ENDPOINT", hub_url)
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "headrace"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "hf"


def test_a_snapshot_is_complete_and_usable_offline(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = hub / "hub/models--org--model/snapshots" / COMMIT
    done = resolve("org/model")
    assert (done.stdout, done.returncode) == (f"huggingface {snapshot}\n", 0), done.stderr
    fetched = {path.name: path.read_bytes() for path in snapshot.rglob("*") if path.is_file()}
    wanted = set(MODEL) - {"pytorch_model.bin", "onnx/model.safetensors", "README.md"}
    assert fetched == {name: MODEL[name] for name in wanted}
    assert done.stderr.startswith("Downloading org/model (3.")

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert resolve("org/model").stdout == done.stdout
    (snapshot / "model-00002-of-00002.safetensors").unlink()
    assert resolve("org/model").returncode == 1
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert resolve("org/model").stdout == done.stdout
    assert (snapshot / "model-00002-of-00002.safetensors").is_file()


def test_an_unreachable_hub_falls_back_to_the_cache(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = resolve("org/quants:q4.gguf")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert resolve("org/quants:q4.gguf").stdout == done.stdout
    absent = resolve("org/quants:deep/q8.gguf")
    assert absent.returncode == 1
    assert absent.stderr.startswith("ModelError: The hub did not give org/quants (Connect")


def test_one_gguf_file_of_a_repository(hub: Path) -> None:
    done = resolve("org/quants:deep/q8.gguf")
    snapshot = hub / "hub/models--org--quants/snapshots" / COMMIT
    assert done.stdout == f"gguf {snapshot}/deep/q8.gguf\n"
    assert (snapshot / "deep/q8.gguf").read_bytes() == b"GGUF8"
    assert not (snapshot / "q4.gguf").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("org/absent",), "ModelNotFoundError: The hub has no model org/absent, or it is private"),
        (("org/gated",), "ModelError: The hub's org/gated is gated: ask for access"),
        (("org/model", "v9"), "ModelNotFoundError: The hub's org/model has no such revision."),
        (("org/quants",), "holds GGUF files; name one. There is: org/quants:deep/q8.gguf, org/"),
        (("org/quants:q5.gguf",), "has no file 'q5.gguf'. There is: org/quants:deep/q8.gguf"),
        (("org/pickled",), "The hub's org/pickled has no safetensors weights"),
        (("org/dataset",), "is not a model: it has no config.json"),
        (("org/a--b",), "ModelNotFoundError: 'org/a--b' is not a hub id"),
    ],
)
def test_failures_are_one_line_errors(hub: Path, arguments: tuple[str, ...], said: str) -> None:
    done = resolve(*arguments)
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.returncode == 1


def test_offline_with_nothing_cached(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = resolve("org/model")
    assert done.stderr.startswith("ModelNotFoundError: HF_HUB_OFFLINE is set and the hub's cache")


def test_list_and_rm(hub: Path) -> None:
    resolve("org/quants:q4.gguf")
    (hub / "hub/models--org--cut-short/blobs").mkdir(parents=True)
    (hub / "hub/models--org--cut-short/blobs/abc.incomplete").write_bytes(b"x" * 100)
    listed = {model["name"]: model for model in json.loads(models("list", "--json").stdout)}
    assert {name: model["state"] for name, model in listed.items()} == {
        "org/quants": "complete",
        "org/cut-short": "incomplete",
        "smollm2-135m": "available",
    }
    assert listed["org/quants"]["path"] == str(hub / "hub/models--org--quants")

    for name in ("org/quants", "org/cut-short"):
        done = models("rm", name, "--yes")
        assert done.returncode == 0, done.stderr
    assert list((hub / "hub").glob("models--*")) == []
    gone = models("rm", "org/quants", "--yes")
    assert gone.returncode == 1
    assert gone.stderr == "Error: 'org/quants' is not in the hub's cache, nothing to remove.\n"


def test_rm_does_not_follow_links(hub: Path, tmp_path: Path) -> None:
    outside = tmp_path / "mine"
    (outside / "blobs").mkdir(parents=True)
    (hub / "hub").mkdir(parents=True)
    (hub / "hub/models--org--linked").symlink_to(outside)
    done = models("rm", "org/linked", "--yes")
    assert done.returncode == 1
    assert "leads out of the hub's cache" in done.stderr
    assert (outside / "blobs").is_dir()


def resolve(*arguments: str) -> subprocess.CompletedProcess[str]:
    return _python("-c", RESOLVE, *arguments)


def models(*arguments: str) -> subprocess.CompletedProcess[str]:
    return _python("-c", "from headrace.cli.models import app; app()", *arguments)


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    # A process each: the library reads its variables once, when it is imported.
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=os.environ, timeout=60
    )
