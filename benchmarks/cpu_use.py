"""Who kept how many cores busy during a run: the client, the servers, everyone else.

Knows no workload.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import psutil
from servers import Server

_MUCH = 0.1
"""Cores. On a small machine, an idle server or a neighbour above this bends the figures."""


@dataclass(frozen=True, slots=True)
class CpuUse:
    """Cores kept busy, on average; None where that cannot be seen (a server not started here)."""

    client: float
    server: float | None
    """The one that was measured, all its processes."""
    idle_servers: float | None
    """The other ones, which were up and had nothing to do."""
    others: float | None
    """All other programs, as far as the machine shows them."""

    def __str__(self) -> str:
        said = [f"{who} {used:.2f}" for who, used in asdict(self).items() if used is not None]
        return f"cores busy: {', '.join(said).replace('_', ' ')}"

    @property
    def warnings(self) -> list[str]:
        """What a reader of the run's figures should know. Of the client, its own health tells."""
        found = []
        if (self.idle_servers or 0.0) > _MUCH:
            found.append("a server that had nothing to do was busy; --restart keeps it away")
        if (self.others or 0.0) > _MUCH:
            found.append("other programs were busy; look at the spread before you trust a ratio")
        return found


class CpuMeter:
    """Counts from when it is made."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._servers = servers
        self._before = _Counters.read(servers)

    def read(self, measured: Server) -> CpuUse:
        """The use since then, while ``measured`` was the one at work."""
        before, after = self._before, _Counters.read(self._servers)
        took_s = after.now_s - before.now_s
        used = {
            name: (after_s - before.servers_s[name]) / took_s
            for name, after_s in after.servers_s.items()
            if name in before.servers_s
        }
        idle = [cores for name, cores in used.items() if name != measured.name]
        client = (after.client_s - before.client_s) / took_s
        machine = (after.machine_s - before.machine_s) / took_s
        return CpuUse(
            client=client,
            server=used.get(measured.name),
            idle_servers=sum(idle) if idle else None,
            # Where someone else's server may be at work, others cannot be told from it.
            others=(
                max(0.0, machine - client - sum(used.values()))
                if all(server.is_command for server in self._servers)
                else None
            ),
        )


@dataclass(frozen=True, slots=True)
class _Counters:
    """Processor seconds used so far."""

    now_s: float
    client_s: float
    machine_s: float
    servers_s: dict[str, float]
    """By name, those that were started here and are up."""

    @classmethod
    def read(cls, servers: Sequence[Server]) -> "_Counters":
        return cls(
            time.perf_counter(),
            time.process_time(),
            _machine_s(),
            {server.name: server.cpu_s() for server in servers if server.is_up},
        )


def _machine_s() -> float:
    times = psutil.cpu_times()
    busy = ("user", "nice", "system", "irq", "softirq")
    return float(sum(getattr(times, name, 0.0) for name in busy))
