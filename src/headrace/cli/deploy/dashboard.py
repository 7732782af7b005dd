"""``headrace dashboard``: opens the web dashboard, signed in."""

import os
import sys
import webbrowser
from typing import Annotated
from urllib.parse import urlsplit

import typer

from headrace.cli.deploy.control_client import connected
from headrace.listen.origins import is_loopback

_DISPLAY_VARIABLES = ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")


def dashboard(
    opens_browser: Annotated[
        bool,
        typer.Option(
            "--browser/--no-browser",
            help="Open the link in a browser, if the control plane is on this machine and there "
            "is one; otherwise print it.",
        ),
    ] = True,
) -> None:
    """Open the web dashboard, signed in by a one-time link.

    The link has the role of your token, and expires after two minutes.
    """
    with connected() as client:
        link = client.create_dashboard_link()
        address = f"{client.url.rstrip('/')}{link.path}"
    if opens_browser and _has_browser(address) and webbrowser.open(address):
        print(f"Opened the dashboard of {urlsplit(address).netloc} in the browser.")
        return
    print(f"Open this link within {link.expires_in_s:.0f} seconds; it works once:")
    print(address)


def _has_browser(address: str) -> bool:
    """Not a browser in this terminal, and none on another machine than the control plane's."""
    if not is_loopback(urlsplit(address).hostname or ""):
        return False
    return sys.platform == "darwin" or any(os.environ.get(name) for name in _DISPLAY_VARIABLES)
