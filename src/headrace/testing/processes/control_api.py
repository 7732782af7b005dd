"""The control plane's real API and dashboard over a real store, without controllers: nothing is
reconciled.

For tests of the API, its client and the commands. It starts no process.
"""

import asyncio
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
from starlette.testclient import TestClient

from headrace.control.api.app import build_app
from headrace.control.api.context import Context
from headrace.control.api.http_protocol import HttpProtocol
from headrace.control.api.to_response import ResponseBuilder
from headrace.control.history.current import CurrentMetrics
from headrace.control.launchers.process import ProcessLauncher
from headrace.control.layout import Layout
from headrace.control.operations.tokens import create_token
from headrace.control.resources import Role
from headrace.control.retention.folders import Folders
from headrace.control.store.store import Store
from headrace.control.vault import Vault
from headrace.dashboard.app import add_dashboard
from headrace.listen.origins import OriginPolicy
from headrace.listen.sockets import base_url
from headrace.listen.tls import TlsFiles

_START_TIMEOUT_S = 60.0
_POLL_S = 0.01


class ControlApi:
    """``store`` can be used to write what a controller would."""

    def __init__(
        self,
        folder: Path,
        gateway_url: str = "http://localhost:8080",
        origins: OriginPolicy | None = None,
        gateway_admin_url: str = "http://127.0.0.1:1",
    ) -> None:
        """``gateway_admin_url``: by default nothing listens there."""
        self.store = Store.open(f"sqlite:///{folder}/state.db")
        self.layout = Layout(folder)
        self.num_wakes = 0
        self.is_ending = False
        """As while the control plane shuts down: streams end."""
        self.current = CurrentMetrics()
        self.context = Context(
            store=self.store,
            vault=Vault.open(folder / "secret.key"),
            responses=ResponseBuilder(
                gateway_url=gateway_url, uses_containers=False, current=self.current
            ),
            current=self.current,
            wake=self._poke,
            folders=Folders(self.store, ProcessLauncher(), self.layout),
            layout=self.layout,
            gateway_admin_url=gateway_admin_url,
            origins=origins or OriginPolicy(),
            is_ending=lambda: self.is_ending,
            settle_timeout_s=0.0,  # no controller would apply it
        )
        self.app = build_app(self.context)
        add_dashboard(self.app, self.context)
        now = datetime.now(UTC)
        self.admin_token = create_token(self.store, "admin", Role.ADMIN, now).secret
        self.viewer_token = create_token(self.store, "viewer", Role.VIEWER, now).secret

    def client(self, token: str | None) -> TestClient:
        """A client of the application without a network, with this token or none."""
        return TestClient(
            self.app,
            base_url="http://127.0.0.1",
            headers={} if token is None else {"Authorization": f"Bearer {token}"},
            raise_server_exceptions=False,
        )

    def browser(self, token: str) -> TestClient:
        """One that has signed in to the dashboard, and sends its session's CSRF token."""
        client = self.client(None)
        page = client.post("/dashboard/sign-in", data={"token": token})
        csrf_token = re.search(r'name="csrf_token" value="(\w+)"', page.text)
        assert csrf_token is not None, page.text
        client.headers["X-CSRF-Token"] = csrf_token[1]
        return client

    @contextmanager
    def serving(self, tls: TlsFiles | None = None, port: int = 0) -> Iterator[str]:
        """Serves it, on a free port if none is given; returns the address."""
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))
            config = uvicorn.Config(
                self.app,
                http=HttpProtocol,
                log_config=None,
                lifespan="off",
                timeout_graceful_shutdown=1,
            )
            config.load()
            config.ssl = None if tls is None else tls.server_context()
            server = uvicorn.Server(config)
            thread = threading.Thread(target=lambda: asyncio.run(server.serve([sock])))
            thread.start()
            try:
                _wait_started(server)
                yield base_url(sock, "http" if tls is None else "https")
            finally:
                self.is_ending = True
                server.should_exit = True
                thread.join()
                self.is_ending = False

    def close(self) -> None:
        self.store.close()

    def _poke(self) -> None:
        self.num_wakes += 1


def _wait_started(server: uvicorn.Server) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not server.started:
        if time.monotonic() > deadline:
            raise RuntimeError("The API did not start.")
        time.sleep(_POLL_S)
