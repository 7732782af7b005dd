"""What a start refuses, and what it leaves behind when it fails; nothing is started for long."""

from pathlib import Path

import pytest

from headrace.control.errors import ConflictError, LaunchError
from headrace.control.platform.layout import Layout, PlatformOptions
from headrace.control.platform.platform import Platform, load_options, save_options
from headrace.control.processes.ports import find_free_port


def quiet(line: str) -> None:
    pass


def free_options(**more: str) -> PlatformOptions:
    port = find_free_port()
    admin_port = find_free_port({port})
    api_port = find_free_port({port, admin_port})
    return PlatformOptions(port=port, admin_port=admin_port, api_port=api_port, **more)  # type: ignore[arg-type]


def test_two_parts_do_not_share_a_port(tmp_path: Path) -> None:
    for options in (
        PlatformOptions(port=9000, admin_port=9000),
        PlatformOptions(admin_port=9000, api_port=9000),
        PlatformOptions(port=9000, api_port=9000),
    ):
        with pytest.raises(ConflictError, match="need a port each"):
            Platform(Layout(tmp_path), options).start(quiet)
    assert load_options(Layout(tmp_path)) is None


def test_a_start_that_fails_leaves_the_options_of_the_last_one(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    failing = Platform(layout, free_options(database_url="nonsense"))
    with pytest.raises(LaunchError, match=r"control plane ended at once.*no scheme"):
        failing.start(quiet)
    assert load_options(layout) is None
    before = free_options()
    save_options(layout, before)
    with pytest.raises(LaunchError, match=r"control plane ended at once.*no scheme"):
        failing.start(quiet)
    assert load_options(layout) == before
    assert failing.gateway.running() is None
