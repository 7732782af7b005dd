"""Observes replicas: whether their processes run, respond and are busy.

Holds the state that is not in the store: consecutive probes, signals sent, route table membership.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from headrace.control.launchers.base import Launcher, Observation
from headrace.control.launchers.log_tail import log_tail
from headrace.control.manifests.revision import RevisionSpec
from headrace.control.replicas.health.activity import (
    Activity,
    ActivityReader,
    ActivitySample,
    activity_between,
)
from headrace.control.replicas.health.probe_record import ProbeRecord
from headrace.control.replicas.health.probes import ProbeResult, Probes
from headrace.control.replicas.observation import ObservedReplica
from headrace.control.resources import Replica, ReplicaState

_HOST = "127.0.0.1"
_GONE = Observation(is_running=False)
_HEAD_START = 0.2
"""Share of the probe timeout after which the activity of the replica's processes is measured."""


@dataclass(frozen=True, slots=True)
class ProbePacing:
    """Intervals and timeout of probes."""

    starting_interval_s: float = 0.5
    ready_interval_s: float = 5.0
    timeout_s: float = 5.0


@dataclass(frozen=True, slots=True)
class _ProbeOutcome:
    result: ProbeResult
    activity: Activity | None
    """During a timeout; None otherwise."""


@dataclass(slots=True)
class _ReplicaMemory:
    """State of one replica that is not in the store."""

    process: Observation | None = None
    is_ours: bool = False
    """Started or adopted by this control plane."""
    probe: "asyncio.Task[_ProbeOutcome] | None" = None
    probed_at_s: float | None = None
    record: ProbeRecord = field(default_factory=ProbeRecord)
    is_unresponsive_reported: bool = False
    stop_signaled_at: datetime | None = None
    is_killed: bool = False
    unrouted_since: int | None = None


class ReplicaMonitor:
    """``on_change`` is called when a probe's result differs from the one before."""

    def __init__(
        self,
        launcher: Launcher,
        probes: Probes,
        folder: Path,
        pacing: ProbePacing,
        on_change: Callable[[], None],
        activity: ActivityReader,
    ) -> None:
        self._launcher = launcher
        self._probes = probes
        self._folder = folder
        self._pacing = pacing
        self._on_change = on_change
        self._activity = activity
        self._memories: dict[str, _ReplicaMemory] = {}

    def folder_of(self, replica_id: str) -> Path:
        return self._folder / replica_id

    def check_processes(self, replicas: list[Replica]) -> None:
        """Check which processes run. Reads files: call it in a thread."""
        for replica in replicas:
            memory = self._memory(replica.replica_id)
            memory.process = self._observe(replica, memory)

    def probe_due(self, replicas: list[Replica], specs: Mapping[str, RevisionSpec]) -> None:
        """Start the probes that are due; ``specs`` are by replica id."""
        now_s = asyncio.get_running_loop().time()
        for replica in replicas:
            memory = self._memory(replica.replica_id)
            spec = specs.get(replica.replica_id)
            if spec is not None and self._is_due(replica, memory, now_s):
                memory.probed_at_s = now_s
                memory.probe = asyncio.create_task(self._probe(replica, spec))
                memory.probe.add_done_callback(lambda task, m=memory: self._probed(m, task))  # type: ignore[misc]

    def observed(
        self,
        replica: Replica,
        num_outstanding: int,
        is_launching: bool,
        waits_for: str | None,
        start_failure: str | None = None,
    ) -> ObservedReplica:
        """Everything observed of it. Reads its log if it does not run or is unhealthy."""
        memory = self._memory(replica.replica_id)
        process = memory.process or _GONE
        record = memory.record
        probe = record.last
        is_timeout = probe is not None and not probe.is_healthy
        words = ""
        if replica.process is not None and (not process.is_running or is_timeout):
            words = log_tail(self.folder_of(replica.replica_id) / "log")
        return ObservedReplica(
            replica=replica,
            is_launching=is_launching,
            waits_for=waits_for,
            start_failure=start_failure,
            is_running=process.is_running,
            exit_code=process.exit_code,
            log_tail=words,
            is_healthy=probe is not None and probe.is_healthy,
            num_failed_probes=record.num_failed,
            num_timeouts_while_busy=record.num_timeouts_while_busy,
            unresponsive_s=record.unresponsive_s,
            is_unresponsive_reported=memory.is_unresponsive_reported,
            is_stopped=record.is_stopped,
            probe_why=probe.why if probe is not None else "",
            num_outstanding=num_outstanding,
            unrouted_since=memory.unrouted_since,
            stop_signaled_at=memory.stop_signaled_at,
            is_killed=memory.is_killed,
        )

    def note_started(self, replica_id: str) -> None:
        """Its process is being started by this control plane; it has had no requests."""
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

    def note_response(self, replica_id: str, at_s: float) -> None:
        """The gateway received data from it at this time of the event loop's clock, or later."""
        memory = self._memories.get(replica_id)
        if memory is not None:
            memory.record.heard(at_s)

    def note_unresponsive_reported(self, replica_id: str) -> None:
        self._memory(replica_id).is_unresponsive_reported = True

    def note_stop_signaled(self, replica_id: str, at: datetime) -> None:
        self._memory(replica_id).stop_signaled_at = at

    def note_killed(self, replica_id: str) -> None:
        self._memory(replica_id).is_killed = True

    def is_ours(self, replica_id: str) -> bool:
        """Whether its handle may be signalled: it was verified to be this replica's process."""
        memory = self._memories.get(replica_id)
        return memory is not None and memory.is_ours

    def retain_only(self, replica_ids: set[str]) -> None:
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

    def _memory(self, replica_id: str) -> _ReplicaMemory:
        return self._memories.setdefault(replica_id, _ReplicaMemory())

    def _observe(self, replica: Replica, memory: _ReplicaMemory) -> Observation:
        if replica.process is None:
            return _GONE
        folder = self.folder_of(replica.replica_id)
        if not memory.is_ours:
            # The pid may have been recycled.
            memory.is_ours = self._launcher.adopt(replica.replica_id, replica.process)
        seen = self._launcher.observe(replica.process, folder)
        return seen if memory.is_ours else Observation(False, seen.exit_code)

    def _is_due(self, replica: Replica, memory: _ReplicaMemory, now_s: float) -> bool:
        if memory.process is None or not memory.process.is_running:
            return False
        if memory.probe is not None and not memory.probe.done():
            return False
        if memory.stop_signaled_at is not None:
            return False  # a server that shuts down reports itself as unhealthy
        is_starting = replica.state is ReplicaState.STARTING
        pacing = self._pacing
        interval_s = pacing.starting_interval_s if is_starting else pacing.ready_interval_s
        return memory.probed_at_s is None or now_s - memory.probed_at_s >= interval_s

    async def _probe(self, replica: Replica, spec: RevisionSpec) -> _ProbeOutcome:
        declared = spec.readiness.port or spec.exposed_port
        port = spec.find_port(declared)
        host_port = replica.host_ports[declared]
        measuring = asyncio.create_task(self._measure_activity(replica, host_port))
        try:
            result = await self._probes.check(
                _HOST,
                host_port,
                path=spec.readiness.path,
                port_type="http" if port is None else port.type,
                timeout_s=self._pacing.timeout_s,
            )
            return _ProbeOutcome(result, await measuring if result.is_timeout else None)
        finally:
            measuring.cancel()

    async def _measure_activity(self, replica: Replica, port: int) -> Activity:
        """Measure the activity during the rest of the probe's timeout."""
        timeout_s = self._pacing.timeout_s
        await asyncio.sleep(_HEAD_START * timeout_s)  # most respond at once
        earlier = await asyncio.to_thread(self._sample_activity, replica, port)
        await asyncio.sleep((1 - _HEAD_START) * timeout_s)
        return activity_between(
            earlier, await asyncio.to_thread(self._sample_activity, replica, port)
        )

    def _sample_activity(self, replica: Replica, port: int) -> ActivitySample:
        assert replica.process is not None  # else it is not probed
        processes = self._launcher.processes(replica.replica_id, replica.process)
        return self._activity.read(processes, port, time.monotonic())

    def _probed(self, memory: _ReplicaMemory, task: "asyncio.Task[_ProbeOutcome]") -> None:
        if task.cancelled():
            return
        assert memory.probed_at_s is not None
        error = task.exception()
        found = (
            _ProbeOutcome(ProbeResult(False, str(error)), None)
            if error is not None
            else task.result()
        )
        record = memory.record
        was_healthy = record.last is not None and record.last.is_healthy
        has_changed = record.last is None or was_healthy != found.result.is_healthy
        now_s = asyncio.get_running_loop().time()
        record.ended(found.result, found.activity, memory.probed_at_s, now_s)
        if has_changed or record.is_stopped:
            self._on_change()
