"""Watches replicas: whether their processes run and whether they answer.

Knows processes and probes, and remembers what no one else does: probes in a row, signals sent.
Decides nothing and changes no state.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from headrace.control.last_words import last_words
from headrace.control.launchers.base import Launcher, Observation
from headrace.control.manifests.revision import RevisionSpec
from headrace.control.replicas.observation import ObservedReplica
from headrace.control.replicas.probes import ProbeResult, Probes
from headrace.control.resources import Replica, ReplicaState

_HOST = "127.0.0.1"
_GONE = Observation(is_running=False)


@dataclass(frozen=True, slots=True)
class ProbePacing:
    """How often and how patiently replicas are asked."""

    starting_interval_s: float = 0.5
    ready_interval_s: float = 5.0
    timeout_s: float = 5.0


@dataclass(slots=True)
class _Memory:
    """What is known of one replica, besides what the store has."""

    process: Observation | None = None
    is_ours: bool = False
    """Started by this controller, or adopted by it."""
    probe: "asyncio.Task[ProbeResult] | None" = None
    probed_at_s: float | None = None
    last_probe: ProbeResult | None = None
    num_failed_probes: int = 0
    told_to_stop_at: datetime | None = None
    is_killed: bool = False
    unrouted_since: int | None = None


class ReplicaWatch:
    """One for the controller's life. ``on_news`` is called when a probe has ended."""

    def __init__(
        self,
        launcher: Launcher,
        probes: Probes,
        folder: Path,
        pacing: ProbePacing,
        on_news: Callable[[], None],
    ) -> None:
        self._launcher = launcher
        self._probes = probes
        self._folder = folder
        self._pacing = pacing
        self._on_news = on_news
        self._memories: dict[str, _Memory] = {}

    def folder_of(self, replica_id: str) -> Path:
        return self._folder / replica_id

    def look(self, replicas: list[Replica]) -> None:
        """See which processes run. Reads files and may wait for them: call it in a thread."""
        for replica in replicas:
            memory = self._memory(replica.replica_id)
            memory.process = self._observe(replica, memory)

    def probe_due(self, replicas: list[Replica], specs: Mapping[str, RevisionSpec]) -> None:
        """Begin the probes whose time has come; ``specs`` are by replica id."""
        now_s = asyncio.get_running_loop().time()
        for replica in replicas:
            memory = self._memory(replica.replica_id)
            spec = specs.get(replica.replica_id)
            if spec is not None and self._is_due(replica, memory, now_s):
                memory.probed_at_s = now_s
                memory.probe = asyncio.create_task(self._probe(replica, spec))
                memory.probe.add_done_callback(lambda task, m=memory: self._probed(m, task))  # type: ignore[misc]

    def observed(
        self, replica: Replica, num_outstanding: int, is_launching: bool
    ) -> ObservedReplica:
        """All that is known of it. Reads its log if something is wrong."""
        memory = self._memory(replica.replica_id)
        process = memory.process or _GONE
        probe = memory.last_probe
        is_silent = probe is not None and not probe.is_healthy
        words = ""
        if replica.process is not None and (not process.is_running or is_silent):
            words = last_words(self.folder_of(replica.replica_id) / "log")
        return ObservedReplica(
            replica=replica,
            is_launching=is_launching,
            is_running=process.is_running,
            exit_code=process.exit_code,
            last_words=words,
            is_healthy=probe is not None and probe.is_healthy,
            num_failed_probes=memory.num_failed_probes,
            probe_why=probe.why if probe is not None else "",
            num_outstanding=num_outstanding,
            unrouted_since=memory.unrouted_since,
            told_to_stop_at=memory.told_to_stop_at,
            is_killed=memory.is_killed,
        )

    def note_started(self, replica_id: str) -> None:
        """Its process is one that we have just started, and it never had a request."""
        memory = self._memory(replica_id)
        memory.is_ours = True
        memory.unrouted_since = 0

    def note_routes(self, routed: frozenset[str], version: int) -> None:
        """The route table of this version has exactly these replicas."""
        for replica_id, memory in list(self._memories.items()):
            if replica_id in routed:
                memory.unrouted_since = None
            elif memory.unrouted_since is None:
                memory.unrouted_since = version

    def note_told_to_stop(self, replica_id: str, at: datetime) -> None:
        self._memory(replica_id).told_to_stop_at = at

    def note_killed(self, replica_id: str) -> None:
        self._memory(replica_id).is_killed = True

    def is_ours(self, replica_id: str) -> bool:
        """Whether its handle may be signalled: it is the process that we think it is."""
        memory = self._memories.get(replica_id)
        return memory is not None and memory.is_ours

    def forget_all_but(self, replica_ids: set[str]) -> None:
        for replica_id in set(self._memories) - replica_ids:
            memory = self._memories.pop(replica_id)
            if memory.probe is not None:
                memory.probe.cancel()

    async def close(self) -> None:
        probes = [m.probe for m in self._memories.values() if m.probe is not None]
        self._memories.clear()
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)

    def _memory(self, replica_id: str) -> _Memory:
        return self._memories.setdefault(replica_id, _Memory())

    def _observe(self, replica: Replica, memory: _Memory) -> Observation:
        if replica.process is None:
            return _GONE
        folder = self.folder_of(replica.replica_id)
        if not memory.is_ours:
            # A pid alone says nothing: by now it may be anybody's.
            memory.is_ours = self._launcher.adopt(replica.replica_id, replica.process)
        seen = self._launcher.observe(replica.process, folder)
        return seen if memory.is_ours else Observation(False, seen.exit_code)

    def _is_due(self, replica: Replica, memory: _Memory, now_s: float) -> bool:
        if memory.process is None or not memory.process.is_running:
            return False
        if memory.probe is not None and not memory.probe.done():
            return False
        if memory.told_to_stop_at is not None:
            return False  # it says by itself that it is not well
        is_starting = replica.state is ReplicaState.STARTING
        pacing = self._pacing
        interval_s = pacing.starting_interval_s if is_starting else pacing.ready_interval_s
        return memory.probed_at_s is None or now_s - memory.probed_at_s >= interval_s

    async def _probe(self, replica: Replica, spec: RevisionSpec) -> ProbeResult:
        declared = spec.readiness.port or spec.exposed_port
        port = spec.find_port(declared)
        return await self._probes.check(
            _HOST,
            replica.host_ports[declared],
            path=spec.readiness.path,
            port_type="http" if port is None else port.type,
            timeout_s=self._pacing.timeout_s,
        )

    def _probed(self, memory: _Memory, task: "asyncio.Task[ProbeResult]") -> None:
        if task.cancelled():
            return
        error = task.exception()
        result = ProbeResult(False, str(error)) if error is not None else task.result()
        is_news = memory.last_probe is None or memory.last_probe.is_healthy != result.is_healthy
        memory.last_probe = result
        memory.num_failed_probes = 0 if result.is_healthy else memory.num_failed_probes + 1
        if is_news:
            self._on_news()
