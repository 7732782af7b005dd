"""The control plane's command line.

`headrace up` starts ``python -m headrace.dashboard``, which adds the dashboard;
``python -m headrace.control`` serves the API alone.
"""

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

from headrace.control.errors import cause_of
from headrace.control.layout import DATABASE_URL_VARIABLE, Layout
from headrace.control.process import AppExtension, ControlPlaneOptions, run_control_plane
from headrace.core.errors import HeadraceError
from headrace.listen.origins import OriginPolicy
from headrace.listen.tls import tls_files


def main(extend_app: AppExtension | None = None) -> int:
    """Read the command line and run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m headrace.control")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--gateway-url", required=True)
    parser.add_argument("--gateway-admin-url", required=True)
    parser.add_argument("--containers", choices=["auto", "never"], default="auto")
    parser.add_argument("--ssl-certfile", help="certificate chain in PEM format, for HTTPS")
    parser.add_argument("--ssl-keyfile", help="the certificate's private key")
    for name, what in (("hosts", "a host name"), ("origins", "an origin of web pages")):
        parser.add_argument(
            f"--allowed-{name}",
            action="append",
            default=[],
            help=f"{what} to accept, in addition to loopback; repeatable, * for all",
        )
    given = parser.parse_args()
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Child processes must not inherit the database's password.
    database_url = os.environ.pop(DATABASE_URL_VARIABLE, None)
    layout = Layout(given.home)
    try:
        options = ControlPlaneOptions(
            layout=layout,
            port=given.port,
            gateway_url=given.gateway_url,
            gateway_admin_url=given.gateway_admin_url,
            database_url=database_url or f"sqlite:///{layout.database}",
            containers=given.containers,
            tls=tls_files(given.ssl_certfile, given.ssl_keyfile),
            origins=OriginPolicy(tuple(given.allowed_hosts), tuple(given.allowed_origins)),
        )
        asyncio.run(run_control_plane(options, extend_app))
    except (HeadraceError, OSError) as error:  # such as a full disk, a file of another user
        print(f"Error: {cause_of(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
