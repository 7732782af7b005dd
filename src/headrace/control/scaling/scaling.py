"""Samples the load of revisions and writes the desired number of replicas to the store.

`autoscaler.decide` makes the decision; the reconciler starts and stops replicas accordingly.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime

from headrace.control.log_on_change import ChangeLogger
from headrace.control.manifests.revision import RevisionSpec
from headrace.control.processes.process_usage import (
    Allowance,
    ProcessUsage,
    ProcessUsageReader,
    machine_allowance,
)
from headrace.control.resources import (
    Event,
    EventReason,
    Replica,
    ReplicaState,
    Revision,
    RevisionKey,
    RevisionPhase,
)
from headrace.control.scaling.autoscaler import Decision, ScalingState, decide
from headrace.control.scaling.autoscaling_policy import (
    AutoscalingPolicy,
    Signal,
)
from headrace.control.scaling.replica_metrics import ReplicaPage
from headrace.control.scaling.replica_scraper import ReplicaScraper, metrics_url
from headrace.control.scaling.signals import Sample, recent, signal_values_of
from headrace.control.snapshot import Snapshot, SpecCache
from headrace.control.store.store import Store
from headrace.core.gateway.stats import TTFT_BUCKETS_S, GatewayStats, RevisionStats

logger = logging.getLogger("headrace.control")

_PAGE_SIGNALS = frozenset({Signal.QUEUE_TIME, Signal.KV_CACHE})
_USAGE_SIGNALS = frozenset({Signal.CPU, Signal.MEMORY, Signal.GPU})
_NO_TRAFFIC = RevisionStats(0, 0, 0, (0,) * (len(TTFT_BUCKETS_S) + 1), None)
"""Of a revision that is not in the gateway's stats."""


def policy_of(spec: RevisionSpec) -> AutoscalingPolicy:
    """The revision's settings, with the policy's defaults."""
    written = spec.autoscaling
    given = {
        "up_window_s": written.scale_up_window_s,
        "down_window_s": written.scale_down_window_s,
        "idle_timeout_s": written.idle_timeout_s,
    }
    return AutoscalingPolicy(
        min=written.min,
        max=written.max,
        signal=Signal(written.metric),
        target=written.target,
        **{name: value for name, value in given.items() if value is not None},
    )


class Scaling:
    """Keeps samples and histories of all revisions."""

    def __init__(
        self,
        store: Store,
        specs: SpecCache,
        usage_reader: ProcessUsageReader,
        scraper: ReplicaScraper,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._specs = specs
        self._usage_reader = usage_reader
        self._scraper = scraper
        self._machine = machine_allowance()
        self._clock = clock
        self._samples: dict[RevisionKey, list[Sample]] = {}
        self._states: dict[RevisionKey, ScalingState] = {}
        self._log = ChangeLogger(logger)

    async def run_pass(self, snapshot: Snapshot, stats: GatewayStats | None) -> bool:
        """Decide for every active revision; True if any desired number changed."""
        now = self._clock()
        policies = self._policies(snapshot)
        self._retain_only({revision.key for revision in snapshot.revisions})
        scaled = [r for r in snapshot.revisions if r.key in policies]
        usages, pages = await asyncio.gather(
            self._read_usages(snapshot, scaled, policies, now), self._read_pages(snapshot, scaled)
        )
        has_changed = False
        for revision in scaled:
            key = revision.key
            sample = self._sample(snapshot, revision, stats, usages, pages, now)
            kept = recent([*self._samples.get(key, []), sample], sample.at_s)
            self._samples[key] = kept
            decision = decide(
                policies[key],
                signal_values_of(kept),
                revision.num_desired_replicas,
                self._states.get(key, ScalingState()),
                sample.at_s,
            )
            self._states[key] = decision.state
            if decision.num_desired != revision.num_desired_replicas:
                await asyncio.to_thread(self._write, revision, decision, now)
                has_changed = True
        return has_changed

    def _policies(self, snapshot: Snapshot) -> dict[RevisionKey, AutoscalingPolicy]:
        policies = {}
        for revision in snapshot.revisions:
            spec = self._specs.of(revision)
            if spec is not None and revision.phase is RevisionPhase.ACTIVE:
                policies[revision.key] = policy_of(spec)
        return policies

    def _retain_only(self, keys: set[RevisionKey]) -> None:
        for key in set(self._samples) - keys:
            del self._samples[key]
            self._states.pop(key, None)

    async def _read_usages(
        self,
        snapshot: Snapshot,
        scaled: list[Revision],
        policies: Mapping[RevisionKey, AutoscalingPolicy],
        now: datetime,
    ) -> Mapping[str, ProcessUsage]:
        handles = {
            replica.replica_id: replica.process
            for revision in scaled
            if _is_elastic(policies[revision.key], _USAGE_SIGNALS)
            for replica in _ready(snapshot, revision)
            if replica.process is not None
        }
        if not handles:
            return {}
        return await asyncio.to_thread(self._usage_reader.read, handles, now.timestamp())

    async def _read_pages(
        self, snapshot: Snapshot, scaled: list[Revision]
    ) -> Mapping[str, ReplicaPage]:
        urls = {
            replica.replica_id: url
            for revision in scaled
            if (spec := self._specs.of(revision)) is not None
            if _is_elastic(policy_of(spec), _PAGE_SIGNALS)
            for replica in _ready(snapshot, revision)
            if (url := metrics_url(replica, spec)) is not None
        }
        scraped = await self._scraper.scrape(urls)
        return {replica_id: one.page for replica_id, one in scraped.items()}

    def _sample(
        self,
        snapshot: Snapshot,
        revision: Revision,
        stats: GatewayStats | None,
        usages: Mapping[str, ProcessUsage],
        pages: Mapping[str, ReplicaPage],
        now: datetime,
    ) -> Sample:
        ready = _ready(snapshot, revision)
        names = {replica.replica_id for replica in ready}
        spec = self._specs.of(revision)
        return Sample(
            at_s=now.timestamp(),
            num_ready=len(ready),
            gateway=None if stats is None else stats.revisions.get(str(revision.key), _NO_TRAFFIC),
            pages={name: page for name, page in pages.items() if name in names},
            usages={name: usage for name, usage in usages.items() if name in names},
            allowance=self._machine if spec is None else _allowance(spec, self._machine),
        )

    def _write(self, revision: Revision, decision: Decision, now: datetime) -> None:
        """Write the decision, unless the revision has changed since the snapshot."""
        num_before = revision.num_desired_replicas
        with self._store.begin() as tx:
            current = tx.revision(revision.service, revision.number)
            if current is None or current.phase is not RevisionPhase.ACTIVE:
                return
            if current.num_desired_replicas != num_before:
                return
            tx.set_num_desired(revision.service, revision.number, decision.num_desired)
            tx.add_event(
                Event(
                    at=now,
                    subject=f"revision {revision.service}/{revision.number}",
                    what=EventReason.SCALED,
                    why=f"Replicas: {num_before} -> {decision.num_desired}. {decision.why}",
                    service=revision.service,
                )
            )


def _is_elastic(policy: AutoscalingPolicy, signals: frozenset[Signal]) -> bool:
    """Whether the revision can scale, and by one of these signals."""
    return policy.min < policy.max and policy.signal in signals


def _ready(snapshot: Snapshot, revision: Revision) -> list[Replica]:
    return [r for r in snapshot.replicas_of(revision.key) if r.state is ReplicaState.READY]


def _allowance(spec: RevisionSpec, machine: Allowance) -> Allowance:
    return Allowance(
        num_cores=spec.resources.cpu or machine.num_cores,
        num_bytes=spec.resources.memory_bytes or machine.num_bytes,
    )
