"""/metrics after known requests, and the metric names of vLLM's dashboards."""

import json
import re
import time
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.server.reporting.metric_families import token_buckets
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import post, request, stream

StartServer = Callable[..., ServerProcess]
Samples = dict[str, float]

LABELS = {"model_name": "parrot", "engine": "0"}

COUNTERS = (
    "prefix_cache_queries",
    "prefix_cache_hits",
    "num_preemptions",
    "prompt_tokens",
    "prompt_tokens_cached",
    "generation_tokens",
    "request_success",
)
GAUGES = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")
LEGACY = (
    "time_per_output_token_seconds",
    "num_requests_swapped",
    "gpu_cache_usage_perc",
    "cpu_cache_usage_perc",
)
HISTOGRAMS = (
    "iteration_tokens_total",
    "request_prompt_tokens",
    "request_generation_tokens",
    "request_max_num_generation_tokens",
    "request_params_n",
    "request_params_max_tokens",
    "time_to_first_token_seconds",
    "inter_token_latency_seconds",
    "request_time_per_output_token_seconds",
    "e2e_request_latency_seconds",
    "request_queue_time_seconds",
    "request_inference_time_seconds",
    "request_prefill_time_seconds",
    "request_decode_time_seconds",
)


ACCEPTS = {
    "Prometheus 2.42": "application/openmetrics-text;version=1.0.0,"
    "application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "Prometheus 3": "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
    "Prometheus 3, underscores": "text/plain;version=1.0.0;escaping=underscores,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
    "protobuf": "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;"
    "encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1",
    "OpenMetrics alone": "application/openmetrics-text; version=1.0.0; charset=utf-8",
    "curl": "*/*",
    "a browser": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
}
"""Accept headers of scrapers."""


@pytest.fixture
def fresh(start_server: StartServer) -> ServerProcess:
    return start_server("parrot", "--served-model-name", "parrot")


def test_metrics_are_exact_after_known_requests(fresh: ServerProcess) -> None:
    prompt = "0123456789abcdef" * 3
    for body in (
        {"max_tokens": 5},
        {"max_tokens": 7},
        {"max_tokens": 3, "n": 2},
        {"max_tokens": 9, "stop": "3"},
        {"max_tokens": 4, "stream": True},
    ):
        response = post(fresh.url, "/v1/completions", {"model": "parrot", "prompt": prompt, **body})
        assert response.status == 200
    samples = scrape(fresh)

    num_tokens = 5 + 7 + 2 * 3 + 4 + 4
    assert total(samples, "prompt_tokens_total") == 6 * 48
    assert total(samples, "prompt_tokens_cached_total") == 5 * 32
    assert total(samples, "prefix_cache_queries_total") == 6 * 48
    assert total(samples, "prefix_cache_hits_total") == 5 * 32
    assert total(samples, "generation_tokens_total") == num_tokens
    assert total(samples, "num_preemptions_total") == 0
    assert samples[key("request_success_total", finished_reason="length")] == 5
    assert samples[key("request_success_total", finished_reason="stop")] == 1
    assert samples[key("request_success_total", finished_reason="abort")] == 0
    assert samples[key("prompt_tokens_by_source_total", source="local_compute")] == 6 * 48 - 160

    assert histogram(samples, "request_prompt_tokens") == (6, 6 * 48)
    assert histogram(samples, "request_generation_tokens") == (6, num_tokens)
    assert histogram(samples, "request_params_max_tokens") == (6, 5 + 7 + 3 + 3 + 9 + 4)
    assert histogram(samples, "request_params_n") == (5, 6)
    assert histogram(samples, "request_max_num_generation_tokens") == (5, 5 + 7 + 3 + 4 + 4)
    assert histogram(samples, "request_num_preemptions") == (6, 0)
    for name in ("time_to_first_token_seconds", "e2e_request_latency_seconds"):
        assert histogram(samples, name)[0] == 6
    for name in ("queue", "prefill", "decode", "inference"):
        assert histogram(samples, f"request_{name}_time_seconds")[0] == 6
    # All output tokens except each choice's first.
    assert histogram(samples, "inter_token_latency_seconds")[0] == num_tokens - 6
    # Each prompt without cached tokens, and each output. Stop strings are found outside the core,
    # which may compute up to max_tokens until it hears of it.
    num_in_steps = (6 * 48 - 160) + num_tokens
    assert num_in_steps <= histogram(samples, "iteration_tokens_total")[1] <= num_in_steps + 5

    for name in GAUGES:
        assert total(samples, name) == 0
    for reason in ("capacity", "deferred"):
        assert samples[key("num_requests_waiting_by_reason", reason=reason)] == 0

    # The legacy names have the same values.
    inter_token = histogram(samples, "inter_token_latency_seconds")
    assert histogram(samples, "time_per_output_token_seconds") == inter_token
    for name in LEGACY[1:]:
        assert total(samples, name) == 0


def test_legacy_names_can_be_left_out(start_server: StartServer) -> None:
    server = start_server("parrot", "--served-model-name", "parrot", "--no-legacy-metrics")
    post(server.url, "/v1/completions", {"model": "parrot", "prompt": "a", "max_tokens": 3})
    text = request(server.url, "GET", "/metrics").body.decode()
    assert "vllm:inter_token_latency_seconds_count" in text
    for name in LEGACY:
        assert f"vllm:{name}" not in text


def test_http_requests_are_counted_by_handler_status_and_method(fresh: ServerProcess) -> None:
    body = {"model": "parrot", "prompt": "a", "max_tokens": 2}
    for path in ("/v1/completions", "/v1/completions/"):
        assert post(fresh.url, path, body).status == 200
    assert post(fresh.url, "/v1/completions", {**body, "stream": True}).status == 200
    assert post(fresh.url, "/v1/completions", {**body, "model": "other"}).status == 404
    assert request(fresh.url, "GET", "/v1/models/parrot").status == 200
    for number in range(3):
        assert request(fresh.url, "GET", f"/no/such/page/{number}").status == 404
    assert request(fresh.url, "DELETE", "/v1/models").status == 405
    for path in ("/metrics", "/health", "/version"):
        assert request(fresh.url, "GET", path).status == 200

    text = request(fresh.url, "GET", "/metrics").body.decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    counts = {
        (sample.labels["method"], sample.labels["handler"], sample.labels["status"]): sample.value
        for sample in families["http_requests"].samples
        if sample.name == "http_requests_total"
    }
    assert counts == {
        ("POST", "/v1/completions", "2xx"): 3,
        ("POST", "/v1/completions", "4xx"): 1,
        ("GET", "/v1/models/{model_id}", "2xx"): 1,
        ("GET", "none", "4xx"): 3,
        ("DELETE", "/v1/models", "4xx"): 1,
    }
    durations = {
        (sample.labels["method"], sample.labels["handler"]): sample.value
        for sample in families["http_request_duration_seconds"].samples
        if sample.name.endswith("_count")
    }
    assert durations["POST", "/v1/completions"] == 4


def test_names_types_and_labels_are_vllms(fresh: ServerProcess) -> None:
    post(fresh.url, "/v1/completions", {"model": "parrot", "prompt": "a", "max_tokens": 2})
    text = request(fresh.url, "GET", "/metrics").body.decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for kind, names in (("counter", COUNTERS), ("gauge", GAUGES), ("histogram", HISTOGRAMS)):
        for name in names:
            family = families[f"vllm:{name}"]
            assert family.type == kind
            for sample in family.samples:
                assert LABELS.items() <= sample.labels.items()
    [cache] = families["vllm:cache_config_info"].samples
    assert cache.labels["block_size"] == "32"
    assert cache.labels["num_gpu_blocks"] == "1000"
    assert cache.labels["num_cpu_blocks"] == "None"
    assert cache.labels["cache_dtype"]
    assert cache.labels["prefix_caching_hash_algo"] == "sha256"
    states = {
        sample.labels["sleep_state"]: sample.value
        for sample in families["vllm:engine_sleep_state"].samples
    }
    assert states == {"awake": 1, "weights_offloaded": 0, "discard_all": 0}
    assert families["process_resident_memory_bytes"].samples[0].value > 0


@pytest.mark.parametrize("scraper", ACCEPTS)
def test_every_scraper_gets_names_with_colons(server: ServerProcess, scraper: str) -> None:
    response = request(server.url, "GET", "/metrics", Accept=ACCEPTS[scraper])
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = response.body.decode().splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    ours = [line for line in samples if line.startswith("vllm:")]
    assert len(ours) > 100
    assert not any("vllm_" in line for line in lines)
    for line in samples:
        assert re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*(\{.*\})? \S+", line), line


def test_aborted_requests_are_counted(start_server: StartServer) -> None:
    server = start_server("parrot?step_s=0.01", "--served-model-name", "parrot")
    body = json.dumps({"model": "parrot", "prompt": "a", "max_tokens": 2000, "stream": True})
    with stream(server.url, "POST", "/v1/completions", body):
        pass  # the head has come: disconnect
    deadline = time.monotonic() + 60.0
    while scrape(server)[key("request_success_total", finished_reason="abort")] != 1:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_token_buckets_end_at_the_context_length() -> None:
    assert token_buckets(2048) == [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000]
    assert token_buckets(1) == [1]


def scrape(server: ServerProcess) -> Samples:
    """Every vllm: sample, by name and labels."""
    text = request(server.url, "GET", "/metrics").body.decode()
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def key(name: str, **labels: str) -> str:
    return f"vllm:{name}{sorted({**LABELS, **labels}.items())}"


def total(samples: Samples, name: str) -> float:
    return samples[key(name)]


def histogram(samples: Samples, name: str) -> tuple[float, float]:
    """Count and sum of a histogram."""
    return total(samples, f"{name}_count"), total(samples, f"{name}_sum")
