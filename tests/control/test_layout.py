"""Addresses as people type them, and homes that cannot be had."""

from pathlib import Path

import pytest

from headrace.control.errors import LaunchError
from headrace.control.layout import Layout, UpOptions


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://localhost:8080"),
        ("0.0.0.0", "http://localhost:8080"),
        ("::", "http://localhost:8080"),
        ("::1", "http://[::1]:8080"),
        ("10.1.2.3", "http://10.1.2.3:8080"),
    ],
)
def test_the_gateways_address_can_be_pasted(host: str, url: str) -> None:
    assert UpOptions(host=host).gateway_url == url


def test_a_home_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(
            LaunchError, match=r"Cannot use .* Set HEADRACE_HOME to a writable folder"
        ):
            Layout(home).make()
