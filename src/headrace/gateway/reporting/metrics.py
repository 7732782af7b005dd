"""The gateway's Prometheus metrics, collected from the router's counters at each scrape."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from headrace.gateway.routing.counters import Histogram
from headrace.gateway.routing.router import Router

PREFIX = "headrace_gateway_"
SERVICE = ("service",)
REVISION = ("service", "revision")
REPLICA = ("service", "revision", "replica", "port")


@dataclass(frozen=True, slots=True)
class Exposition:
    """The metrics in Prometheus's text format."""

    body: bytes
    content_type: str


class GatewayMetrics:
    """The metrics of one router and of this process."""

    def __init__(self, router: Router, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(_RouterCollector(router, clock))

    def expose(self, accept: str) -> Exposition:
        """``accept``: the value of the scraper's ``Accept`` header."""
        encode, content_type = choose_encoder(accept)
        return Exposition(encode(self._registry), content_type)


class _RouterCollector(Collector):
    def __init__(self, router: Router, clock: Callable[[], float]) -> None:
        self._router = router
        self._clock = clock

    def describe(self) -> Iterable[Metric]:
        return ()  # else the registry would collect once to get the names

    def collect(self) -> Iterator[Metric]:
        yield from _of_services(self._router, self._clock())
        yield from _of_revisions(self._router)
        yield from _of_replicas(self._router)
        version = GaugeMetricFamily(PREFIX + "routes_version", "Version of the route table in use.")
        version.add_metric((), self._router.routes_version)
        yield version


def _of_services(router: Router, now: float) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        PREFIX + "requests",
        "Requests by response status; the revision is empty if none was involved.",
        labels=(*REVISION, "code"),
    )
    retries = CounterMetricFamily(
        PREFIX + "retries", "Retries after a failed attempt.", labels=SERVICE
    )
    ejections = CounterMetricFamily(PREFIX + "ejections", "Ejections of replicas.", labels=SERVICE)
    quarantined = GaugeMetricFamily(
        PREFIX + "quarantined_requests",
        "Requests that are blocked because replicas died while processing them.",
        labels=SERVICE,
    )
    for service in router.services.values():
        quarantined.add_metric((service.name,), len(service.quarantine.quarantined(now)))
        for (revision, status), count in service.response_counts.items():
            label = "" if revision is None else str(revision)
            requests.add_metric((service.name, label, str(status)), count)
        retries.add_metric((service.name,), service.num_retries_total)
        ejections.add_metric((service.name,), service.num_ejections_total)
    yield from (requests, retries, ejections, quarantined)


def _of_revisions(router: Router) -> Iterator[Metric]:
    waiting = GaugeMetricFamily(PREFIX + "waiting", "Requests in the queue.", labels=REVISION)
    added = HistogramMetricFamily(
        PREFIX + "added_latency_seconds", "Latency added by the gateway.", labels=REVISION
    )
    ttft = HistogramMetricFamily(
        PREFIX + "ttft_seconds",
        "Time from a request's arrival to the first byte of its response, queueing included.",
        labels=REVISION,
    )
    for service in router.services.values():
        for revision, counts in service.counts.items():
            labels = (service.name, str(revision))
            waiting.add_metric(labels, counts.num_waiting)
            added.add_metric(labels, _buckets(counts.added_latency), counts.added_latency.sum_s)
            ttft.add_metric(labels, _buckets(counts.ttft), counts.ttft.sum_s)
    yield from (waiting, added, ttft)


def _of_replicas(router: Router) -> Iterator[Metric]:
    outstanding = GaugeMetricFamily(
        PREFIX + "outstanding", "Requests in flight at a replica.", labels=REPLICA
    )
    ejected = GaugeMetricFamily(PREFIX + "ejected", "1 while a replica is ejected.", labels=REPLICA)
    attempts = CounterMetricFamily(
        PREFIX + "replica_requests",
        "Requests sent to a replica, with retries.",
        labels=REPLICA,
    )
    failures = CounterMetricFamily(
        PREFIX + "replica_failures", "Failed requests of a replica.", labels=REPLICA
    )
    for replica in router.replicas.values():
        labels = (
            replica.service,
            str(replica.revision),
            replica.replica_id,
            str(replica.port),
        )
        outstanding.add_metric(labels, replica.num_outstanding)
        ejected.add_metric(labels, int(replica.is_ejected))
        attempts.add_metric(labels, replica.num_requests_total)
        failures.add_metric(labels, replica.num_failures_total)
    yield from (outstanding, ejected, attempts, failures)


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Cumulative, as Prometheus has them."""
    edges = [*(str(float(edge)) for edge in histogram.edges), "+Inf"]
    buckets = []
    total = 0
    for edge, count in zip(edges, histogram.counts, strict=True):
        total += count
        buckets.append((edge, float(total)))
    return buckets
