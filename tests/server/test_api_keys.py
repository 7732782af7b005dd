"""API key files: which lines are keys, and errors that disclose none."""

import logging
from pathlib import Path

import pytest

from headrace.core.errors import InvalidInputError
from headrace.server.api_keys import read_api_key_file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.touch(0o600)
    return path


def test_blank_lines_and_comments_are_skipped(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf# for tests\r\n\r\nfirst\r\n  second \n\n#third\nfour#th")
    assert read_api_key_file(file) == ("first", "second", "four#th")


@pytest.mark.parametrize(
    ("content", "line"),
    [("good\nt wo\n", 2), ("schlüssel\n", 1), ("\n\nnull\0\n", 3), ("one\u2028two", 1)],
)
def test_an_invalid_line_is_named_and_not_disclosed(file: Path, content: str, line: int) -> None:
    file.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInputError, match=f"--api-key-file .*line {line}:") as refused:
        read_api_key_file(file)
    assert not set(content.split()) & set(str(refused.value).split())


@pytest.mark.parametrize("content", [b"", b"\n# none\n  \n", b"\xff\xfeb\0"])
def test_a_file_without_keys_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(InvalidInputError, match="--api-key-file"):
        read_api_key_file(file)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(InvalidInputError, match="--api-key-file"):
            read_api_key_file(path)


@pytest.mark.parametrize(("mode", "is_warned"), [(0o644, True), (0o604, True), (0o640, False)])
def test_a_file_that_every_user_can_read_logs_a_warning(
    file: Path, mode: int, is_warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text("secret-key\n")
    file.chmod(mode)
    read_api_key_file(file)
    warnings = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert bool(warnings) == is_warned
    assert "secret-key" not in caplog.text
