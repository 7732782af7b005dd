"""Files are replaced atomically."""

import os
import stat
from pathlib import Path

import pytest

from headrace.bench.errors import ResultFileError
from headrace.bench.results.output_file import replacing, write_text


def test_a_new_file_in_new_folders(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b.txt", "text\r\nü\n")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "text\r\nü\n".encode()
    assert os.listdir(tmp_path / "a") == ["b.txt"]


def test_replacement_preserves_modes_and_links(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o640


@pytest.mark.parametrize("error", [ValueError("odd"), OSError(28, "No space left"), SystemExit()])
def test_a_failed_write_preserves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "r.txt"
    path.write_text("old")

    def write_half() -> None:
        with replacing(path) as stream:
            stream.write("half")
            raise error

    with pytest.raises(ResultFileError if isinstance(error, OSError) else type(error)):
        write_half()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["r.txt"]


def test_devices_are_written_to_and_not_replaced() -> None:
    write_text(Path("/dev/null"), "text")
    assert not Path("/dev/null").is_file()
    with pytest.raises(ResultFileError, match="Cannot write /dev/full: No space left"):
        write_text(Path("/dev/full"), "text")


def test_lone_surrogates_lose_no_text(tmp_path: Path) -> None:
    write_text(tmp_path / "r.txt", "a\ud800b")
    assert (tmp_path / "r.txt").read_text() == "a\\ud800b"
