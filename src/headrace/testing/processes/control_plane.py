"""A control plane for tests: the real store and launcher, a gateway with scripted stats."""

import asyncio
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.control.control_loop import ControlLoop, ControlLoopConfig
from headrace.control.devices.gpus import Gpu
from headrace.control.launchers.process import ProcessLauncher
from headrace.control.replicas.backoff import Backoff
from headrace.control.replicas.health.monitor import ProbePacing
from headrace.control.replicas.health.probes import Probes
from headrace.control.resources import (
    Gateway,
    GatewayStatus,
    Replica,
    ReplicaState,
    Service,
    Target,
)
from headrace.control.store.store import Store
from headrace.control.traffic.routing import RouteFile
from headrace.core.gateway.routes import RouteTable
from headrace.core.gateway.stats import (
    GatewayStats,
    QuarantinedRequest,
    ReplicaStats,
    RevisionStats,
)
from headrace.listen.embedded_server import EmbeddedServer

START = datetime(2026, 1, 1, tzinfo=UTC)
TIMEOUT_S = 60.0
MOCK = f"{sys.executable} -m headrace.testing.servers.mock_server --port 3000"

FAST = ControlLoopConfig(
    pass_interval_s=0.05,
    settled_pass_interval_s=0.05,
    scaling_interval_s=0.1,
    action_wait_s=5.0,
    pacing=ProbePacing(starting_interval_s=0.05, ready_interval_s=0.1),
    backoff=Backoff(),
)


class FakeClock:
    """Advances only by `advance`."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class FakeGateway:
    """Reads the table on disk, and reports the figures that the test sets."""

    def __init__(self, routes: Path) -> None:
        self._file = RouteFile(routes)
        self.follows = True
        self.version = 0
        self.num_outstanding: dict[str, int] = {}
        self.revisions: dict[str, RevisionStats] = {}
        self.quarantined: tuple[QuarantinedRequest, ...] = ()
        self.heard_age_s: dict[str, float] = {}
        """By replica id."""
        self.url = ""

    async def start(self) -> None:
        self._server = EmbeddedServer(Starlette(routes=[Route("/stats", self._stats)]))
        listener = socket.create_server(("127.0.0.1", 0))
        await self._server.start(listener)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    async def stop(self) -> None:
        await self._server.close()

    @property
    def table(self) -> RouteTable:
        return self._file.read() or RouteTable(0)

    def routed(self, service: str = "svc") -> dict[int, set[str]]:
        """Replica ids by revision, as the table has them."""
        return {
            target.revision: {route.replica_id for route in target.replicas}
            for known in self.table.services
            if known.name == service
            for target in known.targets
        }

    async def _stats(self, request: Request) -> Response:
        if self.follows:
            self.version = self.table.version
        stats = GatewayStats(
            routes_version=self.version,
            uptime_s=1.0,
            replicas={
                name: ReplicaStats(
                    self.num_outstanding.get(name, 0), 0, 0, False, self.heard_age_s.get(name)
                )
                for name in {*self.num_outstanding, *self.heard_age_s}
            },
            revisions=self.revisions,
            quarantined=self.quarantined,
        )
        return Response(msgspec.json.encode(stats), media_type="application/json")


class ControlPlane:
    """A home with a service ``svc``, and a controller that is run pass by pass."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.clock = FakeClock()
        self.store = Store.open(f"sqlite:///{home / 'state.db'}")
        self.launcher = ProcessLauncher()
        self.gateway = FakeGateway(home / "gateway" / "routes.json")
        self.probes = Probes()
        self.config = FAST
        self.gpus: Sequence[Gpu] = ()
        """As from NVML; for the next `new_controller`."""
        self.controller: ControlLoop

    async def __aenter__(self) -> "ControlPlane":
        await self.gateway.start()
        await self.probes.__aenter__()
        with self.store.begin() as tx:
            tx.add_service(Service("svc", START))
        self.controller = self.new_controller()
        return self

    async def __aexit__(self, *args: object) -> None:
        await self.controller.close()
        for replica in self.replicas():
            if replica.process is not None:
                self.launcher.kill(replica.replica_id, replica.process)
        await self.probes.__aexit__(None, None, None)
        await self.gateway.stop()
        self.store.close()

    def new_controller(self, store: Store | None = None) -> ControlLoop:
        return ControlLoop(
            store or self.store,
            self.launcher,
            self.probes,
            self.gateway.url,
            self.home,
            self.clock,
            config=self.config,
            read_secrets=lambda names: {},
            gpus=self.gpus,
        )

    async def take_over(self) -> None:
        """As after a kill and a restart of the control plane."""
        await self.controller.close()
        self.controller = self.new_controller()

    def add_revision(
        self,
        run: str = MOCK,
        num_desired: int = 1,
        imports: Mapping[str, Any] | None = None,
        **spec: Any,
    ) -> int:
        whole = {"run": run, "ports": [3000], "import": dict(imports or {}), **spec}
        with self.store.begin() as tx:
            return tx.add_revision("svc", whole, num_desired, self.clock()).number

    def set_num_desired(self, number: int, num_desired: int) -> None:
        with self.store.begin() as tx:
            tx.set_num_desired("svc", number, num_desired)

    def ask_for(self, *targets: Target) -> None:
        with self.store.begin() as tx:
            before = tx.gateway("svc")
            empty = Gateway("svc", True, (), (), GatewayStatus.PENDING, "", {}, self.clock())
            tx.save_gateway(replace(before or empty, targets=targets))

    def gateway_row(self) -> Gateway:
        with self.store.read() as tx:
            row = tx.gateway("svc")
        assert row is not None
        return row

    def replicas(self, *states: ReplicaState, revision: int | None = None) -> list[Replica]:
        with self.store.read() as tx:
            found = tx.replicas(revision=revision)
        return [replica for replica in found if not states or replica.state in states]

    def ready(self, revision: int | None = None) -> list[Replica]:
        return self.replicas(ReplicaState.READY, revision=revision)

    def events(self) -> list[str]:
        with self.store.read() as tx:
            return [f"{event.subject} {event.what}: {event.why}" for event in tx.events()]

    async def run_until(self, condition: Callable[[], bool], *, scaling: bool = False) -> None:
        """Run passes until the condition holds."""
        async with asyncio.timeout(TIMEOUT_S):
            while not condition():
                await self.controller.run_pass()
                if scaling:
                    await self.controller.run_scaling_pass()
                await asyncio.sleep(0.01)  # so that probes progress

    async def run_passes(self, num_passes: int = 5) -> None:
        for _ in range(num_passes):
            await self.controller.run_pass()
            await asyncio.sleep(0.02)
