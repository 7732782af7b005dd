"""A server's /metrics page, parsed for tests."""

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from headrace.testing.raw_http import request


class MetricsPage:
    """The page at the time of construction."""

    def __init__(self, url: str) -> None:
        text = request(url, "GET", "/metrics").body.decode()
        self._samples: list[Sample] = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def value(self, name: str, **labels: str) -> float:
        """The sum over all samples of this name (without "vllm:") that have these labels."""
        found = [
            sample.value
            for sample in self._samples
            if sample.name == f"vllm:{name}" and labels.items() <= sample.labels.items()
        ]
        assert found, f"no metric {name} {labels}"
        return sum(found)
