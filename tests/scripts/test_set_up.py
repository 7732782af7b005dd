"""The set-up installs only files whose hashes are in the lock files."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def pins_of(lock: Path) -> list[str]:
    """Each pin with the hashes below it."""
    text = re.sub(r"^#.*\n", "", lock.read_text(), flags=re.MULTILINE)
    return re.split(r"\n(?=\S)", text.strip())


def with_other_hashes(text: str) -> str:
    return HASH.sub(lambda match: f"--hash=sha256:{match[1][::-1]}", text)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_pin_has_a_version_and_hashes(lock: Path) -> None:
    pins = pins_of(lock)
    assert pins
    for pin in pins:
        assert re.match(r"[a-z0-9.-]+==\S+ ", pin), pin
        assert HASH.search(pin), pin


def test_no_package_is_pinned_twice() -> None:
    of_venv = [lock for lock in LOCKS if lock.stem != "clients"]  # these have a venv of their own
    names = [pin.partition("==")[0] for lock in of_venv for pin in pins_of(lock)]
    assert len(names) == len(set(names))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the files that the set-up reads."""
    for name in ("scripts", "requirements"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def set_up(checkout: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "scripts" / "set-up", "run"],
        env={**os.environ, "PYTHON": sys.executable},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_file_with_another_hash_is_not_installed(checkout: Path) -> None:
    lock = checkout / "requirements" / "pip.lock"
    lock.write_text(with_other_hashes(lock.read_text()))
    ended = set_up(checkout)
    assert ended.returncode == 1
    assert "HASHES" in (checkout / ".venv" / "set-up.log").read_text()
    version = pins_of(lock)[0].removeprefix("pip==").split()[0]
    assert not list(checkout.glob(f".venv/lib/python3*/site-packages/pip-{version}.*"))


def test_a_package_without_a_pin_is_named_before_anything_is_installed(checkout: Path) -> None:
    project = checkout / "pyproject.toml"
    project.write_text(
        project.read_text().replace("dependencies = [", 'dependencies = [\n  "Not_Locked>=1",', 1)
    )
    ended = set_up(checkout)
    assert ended.returncode == 1
    assert "Not_Locked" in ended.stderr
    assert not (checkout / ".venv").exists()
