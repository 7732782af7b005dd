"""Prometheus scrapes the server, and the queries of vLLM's dashboards return data."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.control.monitoring.grafana.dashboard import to_json
from headrace.control.monitoring.grafana.model_server import MODEL_SERVER
from headrace.testing.processes.prometheus_process import (
    PrometheusProcess,
    is_prometheus_installed,
    panel_queries,
    variable_queries,
)
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import post

pytestmark = pytest.mark.skipif(not is_prometheus_installed(), reason="needs Prometheus")

MODEL = "smollm2-135m"
DASHBOARDS = os.environ.get("HEADRACE_TEST_DASHBOARDS")
"""A folder with Grafana dashboards whose queries are tested too."""
VARIABLES = {
    "model_name": MODEL,
    "model": ".*",
    "service": ".*",
    "revision": ".*",
    "replica": ".*",
    "Deployment_id": MODEL,
    "job": "vllm",
    "instance": ".*",
    "__rate_interval": "20s",
    "__interval": "5s",
    "__range": "60s",
    "__range_s": "60",
}
RATES = (
    "prompt_tokens_total",
    "generation_tokens_total",
    "request_success_total",
    "prefix_cache_queries_total",
    "iteration_tokens_total_count",
    "request_queue_time_seconds_sum",
    "request_prefill_time_seconds_sum",
    "request_decode_time_seconds_sum",
    "request_max_num_generation_tokens_sum",
)
QUANTILES = (
    "e2e_request_latency_seconds",
    "time_to_first_token_seconds",
    "inter_token_latency_seconds",
    "request_time_per_output_token_seconds",
    "request_prompt_tokens",
    "request_generation_tokens",
)
GAUGES = (
    "num_requests_running",
    "num_requests_waiting",
    "num_requests_waiting_by_reason",
    "kv_cache_usage_perc",
    "engine_sleep_state",
)
LEGACY_GAUGES = ("num_requests_swapped", "gpu_cache_usage_perc", "cpu_cache_usage_perc")
LEGACY_LATENCY = "vllm:time_per_output_token_seconds"
HTTP_QUERIES = (
    'sum(rate(http_requests_total{status="2xx"}[20s]))',
    "sum by (handler) (rate(http_requests_total[20s]))",
    "rate(http_request_duration_seconds_sum[20s]) / rate(http_request_duration_seconds_count[20s])",
    "histogram_quantile(0.9, sum by (le) (rate(http_request_duration_seconds_bucket[20s])))",
)
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def prometheus(
    real_server: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrometheusProcess]:
    with PrometheusProcess(tmp_path_factory.mktemp("prometheus"), [real_server.url]) as process:
        yield process


def give_load(server: ServerProcess) -> None:
    body = {"model": MODEL, "prompt": "Once upon a time", "max_tokens": 8}
    assert post(server.url, "/v1/completions", body).status == 200


def wait_for_data(
    prometheus: PrometheusProcess, server: ServerProcess, queries: list[str]
) -> list[str]:
    """Queries that returned no number until the deadline, under constant load."""
    deadline = time.monotonic() + DEADLINE_S
    missing = list(dict.fromkeys(queries))
    while missing and time.monotonic() < deadline:
        give_load(server)
        missing = [query for query in missing if not prometheus.has_data(query)]
    return missing


def test_every_kind_of_query_returns_data(
    prometheus: PrometheusProcess, real_server: ServerProcess
) -> None:
    selector = f'{{model_name="{MODEL}"}}'
    queries = [
        *(f"vllm:{name}{selector}" for name in GAUGES),
        *(f"sum by (model_name) (rate(vllm:{name}{selector}[20s]))" for name in RATES),
        *(
            f"histogram_quantile(0.9, sum by (le) (rate(vllm:{name}_bucket{selector}[20s])))"
            for name in QUANTILES
        ),
    ]
    assert wait_for_data(prometheus, real_server, queries) == []
    assert prometheus.label_values("model_name") == [MODEL]


def test_legacy_and_http_names_return_data(
    prometheus: PrometheusProcess, real_server: ServerProcess
) -> None:
    """What dashboards of vLLM's first engine and those of its next version query besides."""
    queries = [
        *(f"vllm:{name}" for name in LEGACY_GAUGES),
        f"histogram_quantile(0.99, sum by (le) (rate({LEGACY_LATENCY}_bucket[20s])))",
        f"rate({LEGACY_LATENCY}_sum[20s]) / rate({LEGACY_LATENCY}_count[20s])",
        *HTTP_QUERIES,
    ]
    assert wait_for_data(prometheus, real_server, queries) == []


@pytest.mark.parametrize(
    "query",
    [
        "label_values(model_name)",
        "label_values(vllm:generation_tokens_total,model_name)",
        "label_values(vllm:request_success_total,model_name)",
    ],
)
def test_dashboard_variables_have_values(
    prometheus: PrometheusProcess, real_server: ServerProcess, query: str
) -> None:
    assert wait_for_data(prometheus, real_server, ["vllm:request_success_total"]) == []
    assert prometheus.variable_values(query) == [MODEL]


def test_every_query_of_our_model_server_dashboard_returns_data_without_a_platform(
    prometheus: PrometheusProcess, real_server: ServerProcess
) -> None:
    dashboard = to_json(MODEL_SERVER)
    queries = panel_queries(dashboard, VARIABLES)
    assert len(queries) > 30
    assert wait_for_data(prometheus, real_server, queries) == []


def test_metric_names_are_unchanged_in_prometheus(
    prometheus: PrometheusProcess, real_server: ServerProcess
) -> None:
    assert wait_for_data(prometheus, real_server, ['count({__name__=~"vllm:.+"})']) == []
    assert prometheus.query('count({__name__=~"vllm_.+"})') == []


@pytest.mark.skipif(DASHBOARDS is None, reason="HEADRACE_TEST_DASHBOARDS is not set")
def test_every_query_of_the_given_dashboards_returns_data(
    prometheus: PrometheusProcess, real_server: ServerProcess
) -> None:
    files = sorted(Path(DASHBOARDS or "").glob("*.json"))
    queries = [
        query for file in files for query in panel_queries(json.loads(file.read_text()), VARIABLES)
    ]
    assert queries
    assert wait_for_data(prometheus, real_server, queries) == []
    variables = [
        query
        for file in files
        for query in variable_queries(json.loads(file.read_text()), VARIABLES)
    ]
    assert variables
    for query in variables:
        assert prometheus.variable_values(query) == [MODEL], query
