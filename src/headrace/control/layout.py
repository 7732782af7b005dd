"""The platform's files and folders below Headrace's home, and the options of `headrace up`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headrace.control.errors import LaunchError
from headrace.core.gateway.request_records import DEFAULT_NUM_RECORDS
from headrace.core.home import make_home

DAEMONS = ("control", "gateway", "supervisor", "prometheus")
"""The platform's own processes, each with a record and a log."""

DATABASE_URL_VARIABLE = "HEADRACE_DATABASE_URL"
"""Environment variable with the database's URL, which may contain a password."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Files and folders of one platform. Each platform needs a home of its own."""

    home: Path

    @property
    def control(self) -> Path:
        return self.home / "control"

    @property
    def database(self) -> Path:
        return self.control / "state.db"

    @property
    def credentials(self) -> Path:
        """The local admin token; mode 0600."""
        return self.control / "credentials.json"

    @property
    def secret_key(self) -> Path:
        return self.control / "secret.key"

    @property
    def options_file(self) -> Path:
        """The options of the last `headrace up`."""
        return self.control / "platform.json"

    @property
    def routes(self) -> Path:
        return self.home / "gateway" / "routes.json"

    @property
    def replicas(self) -> Path:
        """With a folder for each replica: its log and its exit code."""
        return self.home / "replicas"

    @property
    def runs(self) -> Path:
        return self.home / "runs"

    @property
    def artifacts(self) -> Path:
        return self.home / "artifacts"

    @property
    def monitoring(self) -> Path:
        """Configuration and data of the Prometheus of `headrace up --monitoring`."""
        return self.home / "monitoring"

    @property
    def scrape_targets(self) -> Path:
        """The files of Prometheus' service discovery, which the control plane keeps current."""
        return self.monitoring / "targets"

    def daemon_file(self, name: str) -> Path:
        """The record of the process of ``name``: pid and start time."""
        return self.control / f"{name}.json"

    def daemon_log(self, name: str) -> Path:
        return self.control / "logs" / f"{name}.log"

    def make(self) -> None:
        """Create the folders with mode 0700. Raises HeadraceError."""
        try:
            make_home(self.home)
            for folder in (
                self.control / "logs",
                self.routes.parent,
                self.replicas,
                self.runs,
                self.artifacts,
                self.scrape_targets,
            ):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.control.chmod(0o700)
        except OSError as error:
            raise LaunchError(
                f"Cannot use {self.home} ({error.strerror}). "
                "Set HEADRACE_HOME to a writable folder."
            ) from None


@dataclass(frozen=True, slots=True)
class UpOptions:
    """Options of `headrace up`."""

    host: str = "127.0.0.1"
    """Of the gateway; the control plane and the gateway's admin port stay on loopback."""
    port: int = 8080
    admin_port: int = 8081
    api_port: int = 8090
    database_url: str | None = None
    """None: SQLite in the home. May contain a password, so it is passed in the environment."""

    containers: Literal["auto", "never"] = "auto"
    """``auto``: manifests with an image run in containers if a runtime is available."""
    ssl_certfile: str | None = None
    """Of the gateway; absolute paths, both or neither."""
    ssl_keyfile: str | None = None
    api_ssl_certfile: str | None = None
    """Of the control plane's API."""
    api_ssl_keyfile: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    """Of the gateway and the API, in addition to loopback."""
    allowed_origins: tuple[str, ...] = ()
    allowed_methods: tuple[str, ...] = ()
    """This and the next two are CORS options of the gateway, which has its own defaults."""
    allowed_headers: tuple[str, ...] = ()
    allow_credentials: bool = False
    monitoring: bool = False
    """Also run a Prometheus, on loopback."""
    monitoring_port: int = 9090
    request_records: int = DEFAULT_NUM_RECORDS
    """How many of the last requests the gateway stores."""
    log_requests: bool = False
    """The gateway logs a line for each request."""
    log_format: Literal["text", "json"] = "text"
    """Of these lines."""
    otlp_traces_endpoint: str | None = None
    """Where the gateway sends a span for each request."""

    @property
    def monitoring_url(self) -> str:
        return f"http://127.0.0.1:{self.monitoring_port}"

    @property
    def api_url(self) -> str:
        scheme = "http" if self.api_ssl_certfile is None else "https"
        return f"{scheme}://127.0.0.1:{self.api_port}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    @property
    def gateway_url(self) -> str:
        host = "localhost" if self.host in ("127.0.0.1", "0.0.0.0", "::") else self.host
        scheme = "http" if self.ssl_certfile is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"
