import errno
import os
from pathlib import Path

import pytest

from headrace.control.retention.sparse_file import next_data, next_hole, punch_hole

MIB = 1024 * 1024


def test_a_hole_takes_no_room_and_moves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    content = os.urandom(4 * MIB)
    path.write_bytes(content)
    with path.open("r+b") as file:
        punch_hole(file.fileno(), MIB, 3 * MIB)
    stat = path.stat()
    assert stat.st_size == 4 * MIB
    assert stat.st_blocks * 512 < 3 * MIB
    assert path.read_bytes() == content[:MIB] + bytes(2 * MIB) + content[3 * MIB :]


def test_data_and_holes_are_found(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(4 * MIB))
    with path.open("r+b") as opened:
        file = opened.fileno()
        assert (next_data(file, 5), next_hole(file, 5)) == (5, 4 * MIB)
        punch_hole(file, MIB, 3 * MIB)
        assert next_hole(file, 0) == MIB
        assert next_data(file, MIB) == next_data(file, 2 * MIB) == 3 * MIB
        assert next_hole(file, 3 * MIB) == next_data(file, 4 * MIB) == 4 * MIB
        punch_hole(file, 3 * MIB, 4 * MIB)  # nothing but a hole up to the end
        assert next_data(file, 2 * MIB) == 4 * MIB
        assert next_hole(file, 9 * MIB) == next_data(file, 9 * MIB) == 9 * MIB


def test_what_cannot_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with (tmp_path / "file").open("rb") as opened, pytest.raises(OSError) as caught:  # noqa: PT011
        punch_hole(opened.fileno(), 0, MIB)  # not open for writing
    assert caught.value.errno == errno.EBADF
