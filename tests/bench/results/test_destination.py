"""Whether a file can be written is told before anything is measured."""

import os
from pathlib import Path

import pytest

from headrace.bench.errors import ResultFileError
from headrace.bench.results.destination import check_can_be_written, check_can_hold_files


def test_places_that_are_good(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("{}")
    for name in ("old.json", "new.json", "a/b/new.json"):
        check_can_be_written(tmp_path / name)
    check_can_hold_files(tmp_path / "a" / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]  # nothing was made


def test_a_name_alone_is_of_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_can_be_written(Path("new.json"))
    check_can_hold_files(Path("results"))


def test_places_that_are_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultFileError, match="it is a folder"):
        check_can_be_written(tmp_path)
    with pytest.raises(ResultFileError, match="file is a file"):
        check_can_be_written(tmp_path / "file" / "deep" / "r.json")
    with pytest.raises(ResultFileError, match="file is a file"):
        check_can_hold_files(tmp_path / "file")


def test_protected_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root nothing is protected, so that the system's answer is given here."""
    (tmp_path / "old.json").write_text("{}")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    for name in ("old.json", "new.json"):
        with pytest.raises(ResultFileError, match="protected"):
            check_can_be_written(tmp_path / name)
