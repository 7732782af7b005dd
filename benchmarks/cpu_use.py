"""Cores used during a run by the client, the servers and all other programs."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import psutil
from servers import Server

_MUCH = 0.1
"""Cores above which an idle server or another program may distort the figures."""


@dataclass(frozen=True, slots=True)
class CpuUse:
    """Average number of busy cores; None if unknown (a server that was not started here)."""

    client: float
    server: float | None
    """The measured server, with all its processes."""
    idle_servers: float | None
    """The other running servers."""
    others: float | None
    """All other programs."""

    def __str__(self) -> str:
        said = [f"{who} {used:.2f}" for who, used in asdict(self).items() if used is not None]
        return f"cores busy: {', '.join(said).replace('_', ' ')}"

    @property
    def warnings(self) -> list[str]:
        """What may have distorted the figures, apart from the client."""
        found = []
        if (self.idle_servers or 0.0) > _MUCH:
            found.append("an idle server was busy; use --restart")
        if (self.others or 0.0) > _MUCH:
            found.append("other programs were busy; check the range of the ratios")
        return found


class CpuMeter:
    """Measures from its creation."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._servers = servers
        self._before = _Counters.read(servers)

    def read(self, measured: Server) -> CpuUse:
        """The use since then; ``measured`` is the server under load."""
        before, after = self._before, _Counters.read(self._servers)
        took_s = after.now_s - before.now_s
        used = {
            server: (after_s - before.servers_s[server]) / took_s
            for server, after_s in after.servers_s.items()
            if server in before.servers_s
        }
        idle = [cores for server, cores in used.items() if server is not measured]
        client = (after.client_s - before.client_s) / took_s
        machine = (after.machine_s - before.machine_s) / took_s
        return CpuUse(
            client=client,
            server=used.get(measured),
            idle_servers=sum(idle) if idle else None,
            # Unknown if a server was not started here, as its processes are unknown.
            others=(
                max(0.0, machine - client - sum(used.values()))
                if all(server.is_command for server in self._servers)
                else None
            ),
        )


@dataclass(frozen=True, slots=True)
class _Counters:
    """CPU seconds used so far."""

    now_s: float
    client_s: float
    machine_s: float
    servers_s: dict[Server, float]
    """Of running servers that were started here."""

    @classmethod
    def read(cls, servers: Sequence[Server]) -> "_Counters":
        return cls(
            time.perf_counter(),
            time.process_time(),
            _machine_s(),
            {server: server.cpu_s() for server in servers if server.is_up},
        )


def _machine_s() -> float:
    times = psutil.cpu_times()
    busy = ("user", "nice", "system", "irq", "softirq")
    return float(sum(getattr(times, name, 0.0) for name in busy))
