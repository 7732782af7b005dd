"""The proxies that are compared, each started in front of the same two mock servers.

Each runs pinned to one core, with one worker and with a connection pool to the upstreams.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from headrace.bench.http.address import parse_address
from headrace.bench.http.get import NoReplyError, get
from headrace.core.gateway.routes import ReplicaRoute, RouteTable, ServiceRoute, TargetRoute

PATH = "/v1/chat/completions"
START_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Upstream:
    """A mock server; its name is the model in requests."""

    name: str
    port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


@dataclass(frozen=True)
class Way:
    """Where requests for one upstream are sent."""

    port: int
    path: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"


class Process:
    """A process pinned to cores, ended with its children at the block's end."""

    def __init__(self, command: Sequence[str], cores: str, env: dict[str, str] | None = None):
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (closed with this object)
        self._process = subprocess.Popen(
            ["taskset", "-c", cores, *command],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
        )

    @property
    def output(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def tree(self) -> list[psutil.Process]:
        root = psutil.Process(self._process.pid)
        return [root, *root.children(recursive=True)]

    def cpu_s(self) -> float:
        """User and system time of all of it so far."""
        times = [process.cpu_times() for process in self.tree()]
        return sum(time.user + time.system for time in times)

    def rss_bytes(self) -> int:
        return sum(process.memory_info().rss for process in self.tree())

    def wait_for(self, base_url: str, path: str) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                get(parse_address(base_url), path, tls=None, timeout_s=2.0)
            except NoReplyError:
                time.sleep(0.05)
            else:
                return  # an error response is sufficient
        raise RuntimeError(f"{self._process.args} does not answer. It printed:\n{self.output}")

    def end(self) -> None:
        tree = self.tree() if self._process.poll() is None else []
        for process in tree:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(tree, timeout=10.0)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        self._log.close()


class Proxy(ABC):
    """One side of the comparison."""

    name: str

    def __init__(self, upstreams: Sequence[Upstream], cores: str, folder: Path) -> None:
        self.port = free_port()
        self.process = self._start(upstreams, cores, folder)
        try:
            self.process.wait_for(f"http://127.0.0.1:{self.port}", "/")
        except BaseException:
            self.process.end()
            raise

    @abstractmethod
    def _start(self, upstreams: Sequence[Upstream], cores: str, folder: Path) -> Process: ...

    def way(self, upstream: Upstream) -> Way:
        return Way(self.port, f"/{upstream.name}{PATH}")

    @classmethod
    def version(cls) -> str:
        return ""


class Headrace(Proxy):
    name = "headrace"

    def _start(self, upstreams: Sequence[Upstream], cores: str, folder: Path) -> Process:
        routes = folder / "routes.json"
        services = tuple(
            ServiceRoute(
                upstream.name,
                True,
                (TargetRoute(1, 3000, 100, (_replica(upstream),)),),
            )
            for upstream in upstreams
        )
        routes.write_bytes(msgspec.json.encode(RouteTable(1, services)))
        command = (sys.executable, "-m", "headrace.gateway", "--routes", str(routes))
        return Process((*command, "--port", str(self.port), "--admin-port", "0"), cores)


class Nginx(Proxy):
    name = "nginx"

    def _start(self, upstreams: Sequence[Upstream], cores: str, folder: Path) -> Process:
        pools = "\n".join(
            f"upstream {upstream.name} {{ server {upstream.address}; keepalive 256; "
            "keepalive_requests 100000000; }"
            for upstream in upstreams
        )
        locations = "\n".join(
            f"location /{upstream.name}/ {{ proxy_pass http://{upstream.name}/; }}"
            for upstream in upstreams
        )
        temporary = "\n".join(
            f"{kind}_temp_path {folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config = folder / "nginx.conf"
        config.write_text(f"""
            daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr crit;
            events {{ worker_connections 4096; }}
            http {{
              access_log off; {temporary}
              keepalive_requests 100000000; client_max_body_size 32m;
              proxy_http_version 1.1; proxy_set_header Connection "";
              proxy_set_header Host $http_host;
              proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
              proxy_buffering off;
              {pools}
              server {{ listen 127.0.0.1:{self.port}; {locations} }}
            }}""")
        return Process((_program("nginx"), "-c", str(config), "-e", "stderr"), cores)

    @classmethod
    def version(cls) -> str:
        shown = subprocess.run((_program("nginx"), "-v"), capture_output=True, text=True)
        return shown.stderr.strip().rpartition("/")[2]


class LiteLlm(Proxy):
    """Its own virtual environment is named by ``--litellm``."""

    name = "litellm"
    environment = Path()

    def _start(self, upstreams: Sequence[Upstream], cores: str, folder: Path) -> Process:
        config = folder / "litellm.yaml"
        models = "".join(
            f"- model_name: {upstream.name}\n"
            f"  litellm_params: {{model: openai/{upstream.name}, api_key: none, "
            f"api_base: 'http://{upstream.address}/v1'}}\n"
            for upstream in upstreams
        )
        config.write_text(f"model_list:\n{models}litellm_settings: {{telemetry: false}}\n")
        command = (str(self.environment / "bin" / "litellm"), "--config", str(config))
        env = {
            "LITELLM_LOG": "ERROR",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            # Open to all, as the other sides are.
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        }
        ports = ("--host", "127.0.0.1", "--port", str(self.port), "--num_workers", "1")
        return Process((*command, *ports), cores, env)

    def way(self, upstream: Upstream) -> Way:
        return Way(self.port, PATH)

    @classmethod
    def version(cls) -> str:
        code = "import importlib.metadata; print(importlib.metadata.version('litellm'))"
        python = cls.environment / "bin" / "python"
        return subprocess.check_output((str(python), "-c", code), text=True).strip()


class Mock:
    """An upstream in a process of its own."""

    def __init__(self, name: str, cores: str, *arguments: str) -> None:
        self.upstream = Upstream(name, free_port())
        command = (sys.executable, "-m", "headrace.testing.servers.mock_server", "--model", name)
        port = str(self.upstream.port)
        self.process = Process((*command, "--port", port, *arguments), cores)
        self.process.wait_for(f"http://{self.upstream.address}", "/health")

    @property
    def way(self) -> Way:
        return Way(self.upstream.port, PATH)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _replica(upstream: Upstream) -> ReplicaRoute:
    return ReplicaRoute(f"{upstream.name}-1", "127.0.0.1", upstream.port)


def _program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise RuntimeError(f"{name} is not installed (Debian: apt-get install {name}).")
    return found
