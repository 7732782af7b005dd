"""Samples all revisions every 15 seconds and writes their history.

It runs beside the control loop, never in its path: a replica that does not respond delays nothing
but its own sample.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime

from headrace.control.history.block import COARSE, FINE
from headrace.control.history.current import CurrentMetrics, ReplicaLoad
from headrace.control.history.interval import Interval, sample_of
from headrace.control.history.observation import (
    NO_STATS,
    GatewayObservation,
    Observation,
    carried,
    interval_between,
)
from headrace.control.history.ring import Ring, TimedSample
from headrace.control.log_on_change import ChangeLogger
from headrace.control.processes.process_usage import ProcessUsage, ProcessUsageReader
from headrace.control.resources import Replica, ReplicaState, Revision, RevisionKey
from headrace.control.scaling.replica_scraper import PageScrape, ReplicaScraper, metrics_url
from headrace.control.snapshot import Snapshot, SpecCache, load_snapshot
from headrace.control.store.store import Store
from headrace.control.traffic.gateway_link import GatewayLink, StatsScrape

logger = logging.getLogger("headrace.control")

_MAX_SCRAPE_AGE_S = 2.5
"""Pages and stats that autoscaling and control loop have just read are not read again: they do so
every 2 seconds and every second."""
_MARGIN_S = 0.25
"""After the end of a step, so that no jitter of timers falls back into it."""
_WITH_REQUESTS = frozenset({ReplicaState.READY, ReplicaState.DRAINING})


class HistoryRecorder:
    """``await run()`` until cancelled."""

    def __init__(
        self,
        store: Store,
        scraper: ReplicaScraper,
        gateway: GatewayLink,
        usage_reader: ProcessUsageReader,
        current: CurrentMetrics,
        clock: Callable[[], datetime],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """``clock_s`` is monotonic; the scraper and the gateway's link use the same one."""
        self._store = store
        self._scraper = scraper
        self._gateway = gateway
        self._usage_reader = usage_reader
        self._current = current
        self._clock = clock
        self._clock_s = clock_s
        self._specs = SpecCache()
        self._ring = Ring(store)
        self._observations: dict[RevisionKey, Observation] = {}
        self._created_at: dict[RevisionKey, datetime] = {}
        """Of every revision that is in the dictionaries beside."""
        self._coarse: dict[RevisionKey, Interval] = {}
        """The sums of the intervals of the step ``_coarse_at``."""
        self._coarse_at: int | None = None
        self._sampled_at: int | None = None
        """The step of the last sample, in Unix time."""
        self._log = ChangeLogger(logger)

    async def run(self) -> None:
        """A pass after the end of each step. Never raises for errors of the database, the gateway
        or replicas."""
        while True:
            elapsed_s = self._clock().timestamp() % FINE.step_s
            await asyncio.sleep(FINE.step_s - elapsed_s + _MARGIN_S)
            await self.run_pass()

    async def run_pass(self) -> None:
        """Sample the step that has just ended."""
        try:
            await self._sample()
        except Exception as error:
            self._log.failed("history", f"{type(error).__name__}: {error}")
        else:
            self._log.succeeded("history")

    async def _sample(self) -> None:
        now = self._clock()
        at_s = FINE.step_begin(now.timestamp()) - FINE.step_s  # complete, however late this pass is
        if at_s == self._sampled_at:
            return
        snapshot, stats = await asyncio.gather(
            asyncio.to_thread(load_snapshot, self._store), self._gateway.recent(_MAX_SCRAPE_AGE_S)
        )
        self._drop_gone(snapshot)
        pages, usages = await asyncio.gather(
            self._scrape(snapshot), asyncio.to_thread(self._read_usages, snapshot)
        )
        intervals = {
            revision.key: self._observe(revision, snapshot, stats, pages)
            for revision in snapshot.revisions
        }
        samples = {key: sample_of(interval) for key, interval in intervals.items()}
        self._current.replace(samples, _loads(snapshot, pages, usages))
        self._sampled_at = at_s
        due = [TimedSample(key, FINE, at_s, sample) for key, sample in samples.items()]
        due += self._coarse_samples(at_s, intervals)
        await asyncio.to_thread(self._ring.write, due, dict(self._created_at), now)

    def _drop_gone(self, snapshot: Snapshot) -> None:
        """Drop what is known of terminated and deleted revisions, after their last coarse sample.

        A deleted service may have been recreated under the same name.
        """
        created_at = {revision.key: revision.created_at for revision in snapshot.revisions}
        for key, at in list(self._created_at.items()):
            if created_at.get(key) == at:
                continue
            self._observations.pop(key, None)
            self._specs.retain_only(created_at.keys() - {key})
            if key in created_at:
                self._coarse.pop(key, None)
            if key not in self._coarse:
                self._ring.drop(key)
                del self._created_at[key]
        self._created_at |= created_at

    async def _scrape(self, snapshot: Snapshot) -> Mapping[str, PageScrape]:
        urls = {}
        for revision in snapshot.revisions:
            spec = self._specs.of(revision)
            for replica in snapshot.replicas_of(revision.key):
                if replica.state not in _WITH_REQUESTS or spec is None:
                    continue
                url = metrics_url(replica, spec)
                if url is not None:
                    urls[replica.replica_id] = url
        return await self._scraper.scrape(urls, _MAX_SCRAPE_AGE_S)

    def _read_usages(self, snapshot: Snapshot) -> Mapping[str, ProcessUsage]:
        handles = {
            replica.replica_id: replica.process
            for replica in snapshot.replicas
            if replica.state in _WITH_REQUESTS and replica.process is not None
        }
        return self._usage_reader.read(handles, self._clock_s()) if handles else {}

    def _observe(
        self,
        revision: Revision,
        snapshot: Snapshot,
        stats: StatsScrape | None,
        pages: Mapping[str, PageScrape],
    ) -> Interval:
        """The interval since the last observation."""
        key = revision.key
        replicas = [r for r in snapshot.replicas_of(key) if r.state in _WITH_REQUESTS]
        earlier = self._observations.get(key)
        later = carried(
            earlier,
            Observation(
                at_s=self._clock_s(),
                num_ready=sum(replica.state is ReplicaState.READY for replica in replicas),
                replica_ids=frozenset(replica.replica_id for replica in replicas),
                gateway=_seen_by_gateway(key, stats),
                pages={
                    replica.replica_id: pages[replica.replica_id]
                    for replica in replicas
                    if replica.replica_id in pages
                },
            ),
        )
        self._observations[key] = later
        return interval_between(earlier, later)

    def _coarse_samples(
        self, at_s: int, intervals: Mapping[RevisionKey, Interval]
    ) -> list[TimedSample]:
        """The samples of the coarse step that ended, if one did."""
        ended: list[TimedSample] = []
        coarse_at = COARSE.step_begin(at_s)
        if self._coarse_at is not None and coarse_at != self._coarse_at:
            ended = self._take_coarse()
        self._coarse_at = coarse_at
        for key, interval in intervals.items():
            self._coarse[key] = self._coarse.get(key, Interval()) + interval
        if at_s + FINE.step_s == coarse_at + COARSE.step_s:
            ended += self._take_coarse()
        return ended

    def _take_coarse(self) -> list[TimedSample]:
        assert self._coarse_at is not None
        taken = [
            TimedSample(key, COARSE, self._coarse_at, sample_of(interval))
            for key, interval in self._coarse.items()
        ]
        self._coarse.clear()
        self._coarse_at = None
        return taken


def _seen_by_gateway(key: RevisionKey, stats: StatsScrape | None) -> GatewayObservation | None:
    if stats is None:
        return None
    known = stats.stats.revisions.get(str(key), NO_STATS)
    return GatewayObservation(stats.at_s, stats.stats.uptime_s, known)


def _loads(
    snapshot: Snapshot, pages: Mapping[str, PageScrape], usages: Mapping[str, ProcessUsage]
) -> Mapping[str, ReplicaLoad]:
    return {
        replica.replica_id: _load(replica, pages, usages)
        for replica in snapshot.replicas
        if replica.state in _WITH_REQUESTS
    }


def _load(
    replica: Replica, pages: Mapping[str, PageScrape], usages: Mapping[str, ProcessUsage]
) -> ReplicaLoad:
    scraped, usage = pages.get(replica.replica_id), usages.get(replica.replica_id)
    page = None if scraped is None else scraped.page
    return ReplicaLoad(
        num_bytes=None if usage is None else usage.num_bytes,
        num_busy_cores=None if usage is None else usage.num_busy_cores,
        kv_cache_usage=None if page is None else page.kv_cache_usage,
        num_running=None if page is None else round(page.num_running),
        num_waiting=None if page is None else round(page.num_waiting),
    )
