"""Compiled kernels are loaded from folders that only this user can write to."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.models.simd.jit import kernel_folder

OTHER_USER = 12_345
DIGEST = "0123456789abcdef"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
needs_limits = pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Of mode 0755, with all folders of the cache in it."""
    home = tmp_path / "home"
    (home / "cache" / "kernels" / DIGEST).mkdir(parents=True)
    for folder in (home, *cache_folders(home)):
        folder.chmod(0o755)
    return home


def cache_folders(home: Path) -> list[Path]:
    cache = home / "cache"
    return [cache, cache / "kernels", cache / "kernels" / DIGEST]


def mode(folder: Path) -> int:
    return folder.stat().st_mode & 0o7777


def refused(home: Path, caplog: pytest.LogCaptureFixture) -> str:
    """The warning."""
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert kernel_folder(home, DIGEST) is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    return record.getMessage()


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o000])
def test_new_folders_are_private(
    tmp_path: Path, umask: int, caplog: pytest.LogCaptureFixture
) -> None:
    home = tmp_path / "a" / "home"
    before = os.umask(umask)
    try:
        folder = kernel_folder(home, DIGEST)
    finally:
        os.umask(before)
    assert folder == home / "cache" / "kernels" / DIGEST
    assert [mode(each) for each in (home, *cache_folders(home))] == [0o700] * 4
    assert not caplog.records


def test_folders_readable_by_others_are_used(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert kernel_folder(home, DIGEST) == home / "cache" / "kernels" / DIGEST
    assert not caplog.records


@pytest.mark.parametrize("writers", [0o020, 0o002, 0o022])
@pytest.mark.parametrize("depth", range(4))
def test_a_folder_writable_by_others_is_refused(
    home: Path, depth: int, writers: int, caplog: pytest.LogCaptureFixture
) -> None:
    folder = [home, *cache_folders(home)][depth]
    folder.chmod(0o755 | writers)
    message = refused(home, caplog)
    assert f"write to {folder}" in message
    assert f"chmod go-w '{folder}'" in message or f"rm -r '{folder}'" in message


def test_the_suggested_command_fixes_it(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    (home / "cache").chmod(0o777)
    (home / "cache" / "kernels").chmod(0o777)
    for command in (r"chmod go-w '.*'", r"rm -r '.*'"):
        advice = re.search(command, refused(home, caplog))
        assert advice is not None
        subprocess.run(advice[0], shell=True, check=True)
    assert kernel_folder(home, DIGEST) is not None


@pytest.mark.parametrize("depth", range(1, 4))
def test_a_folder_below_a_private_one_is_safe(
    home: Path, depth: int, caplog: pytest.LogCaptureFixture
) -> None:
    [home, *cache_folders(home)][depth].chmod(0o777)
    home.chmod(0o700)
    assert kernel_folder(home, DIGEST) is not None
    assert not caplog.records


def test_a_sticky_folder_can_contain_the_cache_but_not_be_it(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home.chmod(0o1777)
    assert kernel_folder(home, DIGEST) is not None
    (home / "cache" / "kernels").chmod(0o1777)
    refused(home, caplog)


@needs_root
@pytest.mark.parametrize("home_mode", [0o755, 0o700])
@pytest.mark.parametrize("depth", range(4))
def test_a_folder_of_another_user_is_refused(
    home: Path, depth: int, home_mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    home.chmod(home_mode)
    folder = [home, *cache_folders(home)][depth]
    os.chown(folder, OTHER_USER, -1)
    message = refused(home, caplog)
    assert str(folder) in message
    assert str(OTHER_USER) in message
    assert "HEADRACE_HOME" in message


def test_a_file_at_the_folders_path_is_a_warning(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (home / "cache" / "kernels" / DIGEST).rmdir()
    (home / "cache" / "kernels" / DIGEST).touch()
    assert DIGEST in refused(home, caplog)


@needs_limits
def test_a_read_only_folder_is_a_warning(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    (home / "cache" / "kernels" / DIGEST).chmod(0o500)
    assert DIGEST in refused(home, caplog)


ADD = """
import numpy as np
from headrace.models.simd import thread_pool
word = np.zeros(1, np.int64)
thread_pool._add(word.ctypes.data, 3)
print(word[0], sum(thread_pool._add.stats.cache_hits.values()))
"""


def add(home: Path) -> subprocess.CompletedProcess[str]:
    """Run a kernel in a separate process; prints its result, and 1 if it was loaded."""
    environ = {**os.environ, "HEADRACE_HOME": str(home)}
    command = [sys.executable, "-c", ADD]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=True)


def test_kernels_are_cached_and_loaded(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first, second = add(home), add(home)
    assert (first.stdout, second.stdout) == ("3 0\n", "3 1\n")
    assert not first.stderr
    assert not second.stderr


def test_an_unsafe_folder_is_not_used_as_a_cache(tmp_path: Path) -> None:
    home = tmp_path / "home"
    add(home)
    home.chmod(0o755)
    kernels = home / "cache" / "kernels"
    kernels.parent.chmod(0o755)
    kernels.chmod(0o777)
    kept = sorted(kernels.rglob("*"))
    done = add(home)
    assert done.stdout == "3 0\n"
    assert done.stderr.count(f"rm -r '{kernels}'") == 1
    assert sorted(kernels.rglob("*")) == kept
