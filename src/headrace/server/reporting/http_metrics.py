"""HTTP metrics under the names of prometheus-fastapi-instrumentator, which vLLM's dashboards query.

Scrapes and probes are not counted, as in vLLM.
"""

from prometheus_client import CollectorRegistry, Counter, Histogram

from headrace.server.http.request_tracker import RequestRecord

NOT_COUNTED = frozenset({"/metrics", "/health", "/version"})
DURATION_BUCKETS = (0.1, 0.5, 1.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER_METHOD = "other"


class HttpMetrics:
    """Counts the requests of one server."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "http_requests",
            "HTTP requests by handler, status class and method.",
            labelnames=("method", "status", "handler"),
            registry=registry,
        )
        self._durations = Histogram(
            "http_request_duration_seconds",
            "Time from an HTTP request's arrival to the end of its response.",
            labelnames=("handler", "method"),
            buckets=DURATION_BUCKETS,
            registry=registry,
        )

    def observe(self, record: RequestRecord) -> None:
        """A RequestObserver."""
        handler = record.handler
        if handler in NOT_COUNTED:
            return
        method = record.method if record.method in _METHODS else _OTHER_METHOD
        self._requests.labels(method, f"{record.status // 100}xx", handler).inc()
        self._durations.labels(handler, method).observe(record.duration_s)
