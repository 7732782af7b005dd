"""The control loop: drives the actual state of replicas and traffic towards the desired state.

One pass takes a snapshot of the store, observes processes and gateway, reconciles replicas, and
then updates the route table. Passes run twice a second, once a second while all replicas are ready,
and immediately after `ControlLoop.wake`. Errors are isolated: an unavailable database, a gateway
that does not respond or an unreadable revision does not stop the other parts of a pass, and is
logged when it changes.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from headrace.control.devices.gpu_usage import open_nvml
from headrace.control.devices.gpus import Gpu
from headrace.control.launchers.base import Launcher
from headrace.control.layout import Layout
from headrace.control.log_on_change import ChangeLogger
from headrace.control.manifests.revision import RevisionSpec
from headrace.control.monitoring.metrics import ControlMetrics
from headrace.control.monitoring.targets import TargetFiles
from headrace.control.processes.process_usage import ProcessUsageReader
from headrace.control.replicas.backoff import Backoff
from headrace.control.replicas.crash_history import CrashHistory
from headrace.control.replicas.executor import Executor
from headrace.control.replicas.health.activity import ActivityReader
from headrace.control.replicas.health.monitor import ProbePacing, ReplicaMonitor
from headrace.control.replicas.health.probes import Probes
from headrace.control.replicas.observation import Observed, ObservedRevision, ReplicaPolicy
from headrace.control.replicas.orphans import find_orphans, kill_orphan
from headrace.control.replicas.reconciler import reconcile
from headrace.control.replicas.replica_gpus import ReplicaGpus
from headrace.control.replicas.start import ReplicaStarter, SecretReader, no_secrets
from headrace.control.resources import Replica, ReplicaState, Revision, RevisionKey
from headrace.control.retention.policy import REPLICA_LOG, LogLimit
from headrace.control.scaling.replica_scraper import ReplicaScraper
from headrace.control.scaling.scaling import Scaling
from headrace.control.snapshot import Snapshot, SpecCache, load_snapshot
from headrace.control.store.store import Store
from headrace.control.traffic.gateway_link import GatewayLink
from headrace.control.traffic.quarantine_events import QuarantineEvents
from headrace.control.traffic.routing import limits_of
from headrace.control.traffic.traffic import DashboardKey, Traffic
from headrace.core.gateway.stats import GatewayStats

logger = logging.getLogger("headrace.control")


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class ControlLoopConfig:
    """Intervals and limits of the loop."""

    pass_interval_s: float = 0.5
    settled_pass_interval_s: float = 1.0
    """While every replica is ready and no revision is scaled to zero."""
    scaling_interval_s: float = 2.0
    action_wait_s: float = 1.0
    """How long a pass waits for its actions, which usually take milliseconds."""
    pacing: ProbePacing = field(default_factory=ProbePacing)
    backoff: Backoff = field(default_factory=Backoff)
    log_limit: LogLimit = REPLICA_LOG
    """Of a replica's log."""
    uses_containers: bool = False


class ControlLoop:
    """``await run()``, and ``stop()`` to end it."""

    def __init__(
        self,
        store: Store,
        launcher: Launcher,
        probes: Probes,
        gateway_admin_url: str,
        home: Path,
        clock: Callable[[], datetime] = utc_now,
        *,
        config: ControlLoopConfig | None = None,
        read_secrets: SecretReader = no_secrets,
        gpus: Sequence[Gpu] = (),
        dashboard_key: DashboardKey | None = None,
    ) -> None:
        config = config or ControlLoopConfig()
        layout = Layout(home)
        self._store = store
        self._config = config
        self._layout = layout
        self._clock = clock
        self.gateway = GatewayLink(gateway_admin_url)
        """Shared with the history, as the scraper is: nothing is read twice."""
        self.scraper = ReplicaScraper()
        self._specs = SpecCache()
        self._crashes = CrashHistory(config.backoff)
        self._monitor = ReplicaMonitor(
            launcher,
            probes,
            layout.replicas,
            config.pacing,
            self.wake,
            ActivityReader(open_nvml()),
        )
        self._gpus = ReplicaGpus(store, gpus, clock)
        starter = ReplicaStarter(
            store,
            launcher,
            layout.replicas,
            layout.artifacts,
            clock,
            self._gpus,
            read_secrets=read_secrets,
            uses_containers=config.uses_containers,
        )
        self._executor = Executor(
            store,
            launcher,
            starter,
            self._monitor,
            self._crashes,
            clock,
            self.wake,
            config.log_limit,
        )
        usage_reader = ProcessUsageReader(launcher.process_trees, open_nvml())
        self._scaling = Scaling(store, self._specs, usage_reader, self.scraper, clock)
        self._quarantine_events = QuarantineEvents(store, clock)
        self._traffic = Traffic(
            store, self._specs, self._crashes, layout.routes, clock, dashboard_key
        )
        self._target_files = TargetFiles(layout)
        self.metrics = ControlMetrics(store, self._crashes)
        self._stats: GatewayStats | None = None
        """The gateway's, from the last pass."""
        self._snapshot: Snapshot | None = None
        """This pass's snapshot, unless its actions have changed the store since."""
        self._is_settled = False
        self._scaling_lock = asyncio.Lock()
        self._woken = asyncio.Event()
        self._is_stopped = False
        self._has_begun = False
        self._log = ChangeLogger(logger)

    async def run(self) -> None:
        """Run passes until `stop`. Replicas keep running."""
        scaling = asyncio.create_task(self._run_scaling())
        try:
            while not self._is_stopped:
                self._woken.clear()
                await self.run_pass()
                config = self._config
                await self._pause(
                    config.settled_pass_interval_s if self._is_settled else config.pass_interval_s
                )
        finally:
            scaling.cancel()
            await asyncio.gather(scaling, return_exceptions=True)
            await self.close()

    def stop(self) -> None:
        """`run` returns after the current pass."""
        self._is_stopped = True
        self._woken.set()

    def wake(self) -> None:
        """Start the next pass now. Call it in the event loop's thread."""
        self._woken.set()

    async def run_pass(self) -> None:
        """One pass. Never raises for errors of the database, the gateway or replicas."""
        with self.metrics.pass_duration.time():
            if not self._has_begun:
                self._has_begun = await self._attempt("start", self._begin)
            await self._attempt("replicas", self._reconcile_replicas)
            await self._attempt("traffic", self._update_traffic)
            await self._attempt("quarantine", self._record_quarantine)
        self.metrics.last_pass.set_to_current_time()

    async def run_scaling_pass(self) -> None:
        """One autoscaling pass. Never raises for errors of the database or the gateway."""
        async with self._scaling_lock:
            await self._attempt("scaling", self._scale)

    async def close(self) -> None:
        """Release resources; `run` does it itself."""
        await self._executor.wait(self._config.action_wait_s)
        await self._monitor.close()
        await self.scraper.close()
        await self.gateway.close()

    async def _begin(self) -> None:
        """Restore crash history from the store, and kill orphaned processes."""
        await asyncio.to_thread(self._adopt_previous)

    def _adopt_previous(self) -> None:
        now = self._clock()
        with self._store.read() as tx:
            failed = tx.failed_since(now - timedelta(seconds=self._config.backoff.max_s))
            live = tx.replicas(live_only=True)
        self._crashes.recall(failed, now)
        known = {
            replica.replica_id: replica.process for replica in live if replica.process is not None
        }
        for orphan in find_orphans(self._layout.replicas, known):
            logger.warning("Killing orphaned process group of replica %s.", orphan.name)
            kill_orphan(orphan)

    async def _reconcile_replicas(self) -> None:
        self._snapshot, self._is_settled = None, False
        # Read before the snapshot: a start that ends in between is not in the snapshot.
        starting = self._executor.starting()
        asked_s = asyncio.get_running_loop().time()
        snapshot, stats = await asyncio.gather(
            asyncio.to_thread(load_snapshot, self._store), self.gateway.stats()
        )
        self._stats = stats
        self._drop_deleted(snapshot)
        for replica_id, replica_stats in ({} if stats is None else stats.replicas).items():
            if replica_stats.heard_age_s is not None:
                self._monitor.note_response(replica_id, asked_s - replica_stats.heard_age_s)
        replicas = list(snapshot.replicas)
        await asyncio.to_thread(self._monitor.check_processes, replicas)
        specs = {r.key: spec for r in snapshot.revisions if (spec := self._specs.of(r))}
        self._monitor.probe_due(
            replicas,
            {
                replica.replica_id: specs[key]
                for key in specs
                for replica in snapshot.replicas_of(key)
            },
        )
        for revision in snapshot.revisions:
            await self._attempt(
                f"revision {revision.key}",
                lambda revision=revision: self._reconcile_revision(
                    revision, snapshot, stats, starting
                ),  # type: ignore[misc]
            )
        if not self._executor.is_busy():
            self._snapshot, self._is_settled = snapshot, _is_settled(snapshot)
        await self._executor.wait(self._config.action_wait_s)
        if self._has_request_for_idle_revision(snapshot, stats):
            self._snapshot = None
            await self.run_scaling_pass()

    async def _reconcile_revision(
        self,
        revision: Revision,
        snapshot: Snapshot,
        stats: GatewayStats | None,
        starting: frozenset[RevisionKey],
    ) -> None:
        now = self._clock()
        self._crashes.settle(revision.key, snapshot.replicas_of(revision.key), now)
        observed = await asyncio.to_thread(self._observe, revision, snapshot, stats)
        version = None if stats is None else stats.routes_version
        actions = reconcile(Observed((observed,), version), now)
        is_starting = revision.key in starting
        self._executor.begin(actions, with_starts=not is_starting)

    def _observe(
        self, revision: Revision, snapshot: Snapshot, stats: GatewayStats | None
    ) -> ObservedRevision:
        launching = self._executor.launching()
        outstanding = {} if stats is None else stats.replicas
        key, spec = revision.key, self._specs.of(revision)
        return ObservedRevision(
            revision=revision,
            replicas=tuple(
                self._monitor.observed(
                    replica,
                    num_outstanding=(
                        outstanding[replica.replica_id].num_outstanding
                        if replica.replica_id in outstanding
                        else 0
                    ),
                    is_launching=replica.replica_id in launching,
                    waits_for=self._waits_for(replica, spec),
                    start_failure=self._executor.start_failure(replica.replica_id),
                )
                for replica in snapshot.replicas_of(key)
            ),
            crashes=self._crashes.of(key),
            policy=self._policy(revision, snapshot),
        )

    def _waits_for(self, replica: Replica, spec: RevisionSpec | None) -> str | None:
        return None if spec is None else self._gpus.waits_for(replica, spec.resources.gpu)

    def _policy(self, revision: Revision, snapshot: Snapshot) -> ReplicaPolicy:
        spec = self._specs.of(revision)
        if spec is None:
            return ReplicaPolicy(backoff=self._config.backoff)
        return ReplicaPolicy(
            readiness_timeout_s=spec.readiness.timeout_s,
            drain_timeout_s=spec.drain_timeout_s,
            grace_period_s=spec.grace_period_s,
            max_unresponsive_s=_max_unresponsive_s(revision.service, snapshot),
            backoff=self._config.backoff,
        )

    def _drop_deleted(self, snapshot: Snapshot) -> None:
        keys = {revision.key for revision in snapshot.revisions}
        self._specs.retain_only(keys)
        self._crashes.retain_only(keys)
        ids = {replica.replica_id for replica in snapshot.replicas}
        self._executor.retain_only(ids)
        self._monitor.retain_only(ids | self._executor.launching())

    async def _update_traffic(self) -> None:
        snapshot = self._snapshot
        if snapshot is None:
            snapshot = await asyncio.to_thread(load_snapshot, self._store)
        await asyncio.to_thread(self._traffic.run_pass, snapshot)
        self._monitor.note_routes(self._traffic.routed, self._traffic.version)
        await self._attempt("scrape_targets", lambda: self._write_targets(snapshot))

    async def _write_targets(self, snapshot: Snapshot) -> None:
        await asyncio.to_thread(self._target_files.write_replicas, snapshot, self._specs)

    async def _record_quarantine(self) -> None:
        stats = self._stats
        if stats is not None and self._quarantine_events.has_new(stats):
            await asyncio.to_thread(self._quarantine_events.record, stats)

    def _has_request_for_idle_revision(
        self, snapshot: Snapshot, stats: GatewayStats | None
    ) -> bool:
        """Whether a request waits for a revision that is scaled to zero: scale it up now."""
        return stats is not None and any(
            revision.num_desired_replicas == 0
            and (its_stats := stats.revisions.get(str(revision.key))) is not None
            and its_stats.num_waiting > 0
            for revision in snapshot.revisions
        )

    async def _scale(self) -> None:
        snapshot, stats = await asyncio.gather(
            asyncio.to_thread(load_snapshot, self._store), self.gateway.stats()
        )
        if await self._scaling.run_pass(snapshot, stats):
            self.wake()

    async def _run_scaling(self) -> None:
        while True:
            await self.run_scaling_pass()
            await asyncio.sleep(self._config.scaling_interval_s)

    async def _attempt(self, part: str, work: Callable[[], Awaitable[None]]) -> bool:
        try:
            await work()
        except Exception as error:
            self._log.failed(part, f"{type(error).__name__}: {error}")
            self.metrics.note_error(part)
            return False
        self._log.succeeded(part)
        return True

    async def _pause(self, duration_s: float) -> None:
        try:
            async with asyncio.timeout(duration_s):
                await self._woken.wait()
        except TimeoutError:
            pass


def _is_settled(snapshot: Snapshot) -> bool:
    return all(replica.state is ReplicaState.READY for replica in snapshot.replicas) and all(
        revision.num_desired_replicas > 0 for revision in snapshot.revisions
    )


def _max_unresponsive_s(service: str, snapshot: Snapshot) -> float:
    """At least the idle timeout that the service's gateway has for responses."""
    least_s = ReplicaPolicy().max_unresponsive_s
    waits_s = (
        limits_of(gateway).idle_timeout_s
        for gateway in snapshot.gateways
        if gateway.service == service
    )
    return max([least_s, *waits_s])
