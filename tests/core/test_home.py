"""Only its owner can read the home, whichever component creates it."""

import os
from pathlib import Path

import pytest

from headrace.control.layout import Layout
from headrace.core.errors import InvalidInputError
from headrace.core.home import headrace_home, make_home
from headrace.models.sources.progress import SilentProgress
from headrace.models.sources.wheel.cache import default_cache


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture(autouse=True)
def open_umask() -> object:
    """A umask that shares everything."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_the_home_is_set_by_the_environment_or_defaults_to_the_users() -> None:
    assert headrace_home({"HEADRACE_HOME": "/srv/headrace"}) == Path("/srv/headrace")
    assert headrace_home({"HEADRACE_HOME": ""}) == Path.home() / ".headrace"
    assert headrace_home({}) == Path.home() / ".headrace"


def test_a_new_home_is_private(tmp_path: Path) -> None:
    home = tmp_path / "below" / "home"
    make_home(home)
    assert mode(home) == 0o700
    make_home(home)
    assert mode(home) == 0o700


@pytest.mark.parametrize("open_mode", [0o755, 0o750, 0o777, 0o701])
def test_an_open_home_is_made_private(tmp_path: Path, open_mode: int) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(open_mode)
    (home / "kept").touch()
    make_home(home)
    assert mode(home) == 0o700
    assert (home / "kept").exists()


def test_another_users_home_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    if os.geteuid() == 0:
        os.chown(home, 12345, 12345)
    else:
        home = Path("/usr")
    before = mode(home)
    with pytest.raises(InvalidInputError, match=str(home)):
        make_home(home)
    assert mode(home) == before


def test_a_home_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", tmp_path / "file" / "home"):
        with pytest.raises(NotADirectoryError):
            make_home(home)


def test_the_platform_makes_its_home_private(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "home")
    layout.make()
    for folder in (layout.home, layout.control, layout.replicas, layout.runs, layout.artifacts):
        assert mode(folder) == 0o700


def test_the_model_cache_makes_its_home_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("HEADRACE_HOME", str(home))
    with default_cache().locked("package", SilentProgress()):
        assert mode(home) == 0o700
