"""Servers that a gateway can route to, each in a separate process. They have no model."""

import sys
from pathlib import Path

from headrace.core.gateway.routes import ReplicaRoute
from headrace.testing.processes.announced_process import AnnouncedProcess


class ReplicaProcess(AnnouncedProcess):
    """``python -m MODULE --port 0 ...``, which prints its address."""

    def __init__(self, name: str, module: str, *arguments: str) -> None:
        command = (sys.executable, "-m", module, "--port", "0", *arguments)
        super().__init__(command, r"at http://[\d.]+:(\d+)/v1$")
        self.name = name

    @property
    def port(self) -> int:
        return int(self.found[0])

    @property
    def route(self) -> ReplicaRoute:
        return ReplicaRoute(self.name, "127.0.0.1", self.port)


class MockServerProcess(ReplicaProcess):
    """``python -m headrace.testing.servers.mock_server``."""

    def __init__(self, *arguments: str, name: str = "mock") -> None:
        super().__init__(name, "headrace.testing.servers.mock_server", "--name", name, *arguments)


class BlockingServerProcess(ReplicaProcess):
    """``python -m headrace.testing.servers.blocking_server``."""

    def __init__(self, name: str = "blocking") -> None:
        super().__init__(name, "headrace.testing.servers.blocking_server")


class MortalServerProcess(ReplicaProcess):
    """``python -m headrace.testing.servers.mortal_server``."""

    def __init__(self, ends: Path, name: str = "mortal") -> None:
        super().__init__(name, "headrace.testing.servers.mortal_server", "--ends", str(ends))
