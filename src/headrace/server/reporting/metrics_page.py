"""/metrics: the metrics of the process, of HTTP requests and of each model, on one page."""

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from headrace.server.http.request_tracker import RequestRecord
from headrace.server.reporting.http_metrics import HttpMetrics
from headrace.server.reporting.metrics import ServerMetrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus's text format, which every scraper reads and which keeps the colons in names. In
OpenMetrics, scrapers without UTF-8 names get underscores, and vLLM's dashboards show no data."""

_MODEL_LABEL = "model_name"


class MetricsPage:
    """The metrics of one server."""

    def __init__(self, models: Sequence[ServerMetrics]) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._http = HttpMetrics(self._registry)
        self._registry.register(_ModelsCollector(models))

    def expose(self) -> bytes:
        """All metrics in the format of CONTENT_TYPE."""
        return generate_latest(self._registry)

    def on_http_request(self, record: RequestRecord) -> None:
        """A RequestObserver."""
        self._http.observe(record)


class _ModelsCollector(Collector):
    """The metrics of all models: a family has the samples of all models that have it."""

    def __init__(self, models: Sequence[ServerMetrics]) -> None:
        self._models = models

    def describe(self) -> Iterable[Metric]:
        return ()  # the names are known once models are loaded

    def collect(self) -> Iterator[Metric]:
        if len(self._models) == 1:
            yield from self._models[0].registry.collect()
            return
        families: dict[str, Metric] = {}
        for model in self._models:
            for metric in model.registry.collect():
                family = families.setdefault(
                    metric.name, Metric(metric.name, metric.documentation, metric.type)
                )
                for sample in metric.samples:
                    # A few of vLLM's families have no label of the model; without one, the samples
                    # of two models could be the same series.
                    labels = {_MODEL_LABEL: model.model_name, **sample.labels}
                    family.samples.append(sample._replace(labels=labels))
        yield from families.values()
