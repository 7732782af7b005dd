"""Destinations are checked before any measurement, by real system calls."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.bench.errors import ResultFileError
from headrace.bench.results.destination import (
    check_can_be_written,
    check_can_hold_files,
    check_stream,
)


def test_valid_destinations(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("{}")
    (tmp_path / "link.json").symlink_to("old.json")
    before = (tmp_path / "old.json").stat()
    for name in ("old.json", "link.json", "new.json", "a/b/new.json"):
        check_can_be_written(tmp_path / name)
    check_can_hold_files(tmp_path / "a" / "b")
    check_can_be_written(Path("/dev/null"))
    assert {path.name for path in tmp_path.iterdir()} == {"old.json", "link.json"}
    after = (tmp_path / "old.json").stat()
    assert (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, 2)


def test_a_bare_name_is_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check_can_be_written(Path("new.json"))
    check_can_hold_files(Path("results"))


def test_invalid_destinations(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultFileError, match="it is a folder"):
        check_can_be_written(tmp_path)
    with pytest.raises(ResultFileError, match="file is a file"):
        check_can_be_written(tmp_path / "file" / "deep" / "r.json")
    with pytest.raises(ResultFileError, match="file is a file"):
        check_can_hold_files(tmp_path / "file")


def test_a_full_device() -> None:
    with pytest.raises(ResultFileError, match="No space left"):
        check_can_be_written(Path("/dev/full"))
    with (
        open("/dev/full", "w") as stream,
        pytest.raises(ResultFileError, match="to stdout: No space left"),
    ):
        check_stream(stream, "stdout")


def test_a_closed_stream(tmp_path: Path) -> None:
    with pytest.raises(ResultFileError, match="closed"):
        check_stream(None, "stdout")
    with (tmp_path / "out").open("w") as stream:
        check_stream(stream, "stdout")


def test_a_file_system_without_file_creation() -> None:
    """Where root cannot create a file either."""
    with pytest.raises(ResultFileError, match="Cannot write into /proc"):
        check_can_be_written(Path("/proc/results.json"))
    with pytest.raises(ResultFileError, match="Cannot write into /proc"):
        check_can_hold_files(Path("/proc/results"))


@pytest.mark.parametrize("name", ["new.json", "old.json"])
def test_a_file_size_limit(name: str, tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("{}")
    code = (
        "import resource, sys; from pathlib import Path; "
        "from headrace.bench.results.destination import check_can_be_written; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); "
        f"check_can_be_written(Path({str(tmp_path / name)!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert "ResultFileError" in done.stderr
    assert "File too large" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="to root nothing is protected")
def test_protected_destinations(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o500)
    with pytest.raises(ResultFileError, match="Permission denied"):
        check_can_be_written(folder / "new.json")
