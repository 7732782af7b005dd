"""The gateway's Prometheus metrics, collected from the router's counters at each scrape."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
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

from headrace.gateway.routing.counters import Histogram, TrafficCounts
from headrace.gateway.routing.router import Router

PREFIX = "headrace_gateway_"
SERVICE = ("service",)
REVISION = ("service", "revision")
REPLICA = ("service", "revision", "replica", "port")
TRAFFIC = ("service", "revision", "key", "model")


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
        yield from _of_traffic(self._router)
        yield from _of_revisions(self._router)
        yield from _of_replicas(self._router)
        version = GaugeMetricFamily(PREFIX + "routes_version", "Version of the route table in use.")
        version.add_metric((), self._router.routes_version)
        yield version


def _of_services(router: Router, now: float) -> Iterator[Metric]:
    ejections = CounterMetricFamily(PREFIX + "ejections", "Ejections of replicas.", labels=SERVICE)
    quarantined = GaugeMetricFamily(
        PREFIX + "quarantined_requests",
        "Requests that are blocked because replicas died while processing them.",
        labels=SERVICE,
    )
    for service in router.services.values():
        quarantined.add_metric((service.name,), len(service.quarantine.quarantined(now)))
        ejections.add_metric((service.name,), service.num_ejections_total)
    yield from (ejections, quarantined)


def _of_traffic(router: Router) -> Iterator[Metric]:
    """By key and model too."""
    requests = _counter(
        "requests",
        "Requests by response status; the revision is empty if none was involved.",
        "code",
    )
    errors = _counter(
        "errors",
        "Requests that failed, by the gateway's error code; replica_error: a replica's 5xx, or a "
        "stream that it ended with an error event.",
        "reason",
    )
    retries = _counter("retries", "Retries after a failed attempt.")
    tokens = _TokenCounters()
    queue = _histogram("queue_seconds", "Time in the queue, of the requests that were queued.")
    stream_ttft = _histogram(
        "time_to_first_token_seconds",
        "Time from a request's arrival to the first byte of its event stream, queueing included.",
    )
    inter_token = _histogram(
        "inter_token_latency_seconds",
        "Time between two chunks of an event stream, which usually are one token each.",
    )
    for service in router.services.values():
        for (revision, key, model), counts in service.traffic.items():
            labels = (service.name, "" if revision is None else str(revision), key, model)
            for status, count in counts.responses.items():
                requests.add_metric((*labels, str(status)), count)
            for reason, count in counts.errors.items():
                errors.add_metric((*labels, reason), count)
            retries.add_metric(labels, counts.num_retries)
            tokens.add(labels, counts)
            for family, histogram in (
                (queue, counts.queue),
                (stream_ttft, counts.stream_ttft),
                (inter_token, counts.inter_token),
            ):
                if any(histogram.counts):  # most rejected requests have none
                    family.add_metric(labels, _buckets(histogram), histogram.sum_s)
    yield from (requests, errors, retries, *tokens.families, queue, stream_ttft, inter_token)


class _TokenCounters:
    def __init__(self) -> None:
        self._prompt = _counter("prompt_tokens", "Prompt tokens, from the usage of responses.")
        self._completion = _counter(
            "completion_tokens", "Generated tokens, from the usage of responses."
        )
        self._cached = _counter(
            "cached_tokens",
            "Prompt tokens from replicas' prefix caches, from the usage of responses.",
        )
        self._without_usage = _counter(
            "responses_without_usage",
            "Complete responses to POST requests, with status 200, that are not counted in tokens: "
            "a stream has usage only if the client asks with stream_options.include_usage.",
        )
        self.families = (self._prompt, self._completion, self._cached, self._without_usage)

    def add(self, labels: Sequence[str], counts: TrafficCounts) -> None:
        self._prompt.add_metric(labels, counts.num_prompt_tokens)
        self._completion.add_metric(labels, counts.num_completion_tokens)
        self._cached.add_metric(labels, counts.num_cached_tokens)
        self._without_usage.add_metric(labels, counts.num_without_usage)


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


def _counter(name: str, description: str, *more_labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(PREFIX + name, description, labels=(*TRAFFIC, *more_labels))


def _histogram(name: str, description: str) -> HistogramMetricFamily:
    return HistogramMetricFamily(PREFIX + name, description, labels=TRAFFIC)


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Cumulative, as Prometheus has them."""
    edges = [*(str(float(edge)) for edge in histogram.edges), "+Inf"]
    buckets = []
    total = 0
    for edge, count in zip(edges, histogram.counts, strict=True):
        total += count
        buckets.append((edge, float(total)))
    return buckets
