"""The metrics that Prometheus scrapes."""

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from headrace.gateway.reporting.metrics import GatewayMetrics
from headrace.gateway.routing.decisions import Outcome
from headrace.gateway.routing.quarantine import Loss
from headrace.gateway.routing.request_features import RequestFeatures
from headrace.gateway.routing.retries import take_from_budget
from headrace.gateway.routing.router import Router
from headrace.gateway.routing.topology import ReplicaEndpoint
from headrace.testing.route_tables import route_table, service_route, target_route


@pytest.fixture
def router():
    router = Router(0.0)
    route = service_route(target_route(1, 50, (1,)), target_route(2, 50, (2,)))
    router.replace_table(route_table(route, version=5), 0.0)
    return router


def samples(router: Router) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = GatewayMetrics(router).expose("text/plain").body.decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def labels(**values: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({"service": "openllm", **values}.items()))


def test_an_idle_gateway_exposes_its_gauges(router):
    found = samples(router)
    assert found["headrace_gateway_routes_version", ()] == 5
    assert found["headrace_gateway_waiting", labels(revision="1")] == 0
    place = labels(revision="2", replica="r2", port="20002")
    assert found["headrace_gateway_outstanding", place] == 0
    assert found["headrace_gateway_ejected", place] == 0


def test_requests_and_failures_are_counted(router):
    service = router.services["openllm"]
    for _ in range(3):
        features = RequestFeatures(None, ())
        choice = router.choose(service, features, (), 0.0)
        assert isinstance(choice, ReplicaEndpoint)
        router.begin(choice, features, 0.0)
        if choice.replica_id == "r2":
            router.end(choice, Outcome.CONNECT_FAILED, 0.0, None)
            assert take_from_budget(service, 0.0)
            router.count_response(service, None, 503, None)
        else:
            router.end(choice, Outcome.OK, 0.0, 0.3)
            router.count_response(service, 1, 200, 0.0003)
    found = samples(router)
    requests = "headrace_gateway_requests_total"
    assert found[requests, labels(revision="1", key="", model="", code="200")] == 2
    assert found[requests, labels(revision="", key="", model="", code="503")] == 1
    assert found["headrace_gateway_ejections_total", labels()] == 1
    place = labels(revision="2", replica="r2", port="20002")
    assert found["headrace_gateway_ejected", place] == 1
    assert found["headrace_gateway_replica_requests_total", place] == 1
    assert found["headrace_gateway_replica_failures_total", place] == 1
    added = "headrace_gateway_added_latency_seconds"
    assert found[f"{added}_bucket", labels(revision="1", le="0.00025")] == 0
    assert found[f"{added}_bucket", labels(revision="1", le="0.0005")] == 2
    assert found[f"{added}_bucket", labels(revision="1", le="+Inf")] == 2
    assert found[f"{added}_count", labels(revision="1")] == 2
    assert found[f"{added}_sum", labels(revision="1")] == pytest.approx(0.0006)
    assert found["headrace_gateway_ttft_seconds_count", labels(revision="1")] == 2


def test_traffic_is_counted_by_revision_key_and_model(router):
    service = router.services["openllm"]
    counts = router.count_response(service, 1, 200, None, "laptop", "smollm2")
    counts.num_prompt_tokens += 37
    counts.num_completion_tokens += 8
    counts.num_cached_tokens += 16
    counts.num_retries += 2
    counts.queue.observe(0.2)
    counts.stream_ttft.observe(0.3)
    counts.inter_token.observe_all([0.02, 0.02, 0.2])
    router.count_response(service, 1, 200, None, "laptop", "other-model").num_without_usage += 1
    router.count_response(service, None, 401, None).count_error("invalid_api_key", 401)
    found = samples(router)
    prefix = "headrace_gateway_"
    one = labels(revision="1", key="laptop", model="smollm2")
    assert found[f"{prefix}prompt_tokens_total", one] == 37
    assert found[f"{prefix}completion_tokens_total", one] == 8
    assert found[f"{prefix}cached_tokens_total", one] == 16
    assert found[f"{prefix}responses_without_usage_total", one] == 0
    assert found[f"{prefix}retries_total", one] == 2
    assert found[f"{prefix}queue_seconds_count", one] == 1
    assert found[f"{prefix}time_to_first_token_seconds_sum", one] == pytest.approx(0.3)
    assert found[f"{prefix}inter_token_latency_seconds_count", one] == 3
    gaps = labels(revision="1", key="laptop", model="smollm2", le="0.025")
    assert found[f"{prefix}inter_token_latency_seconds_bucket", gaps] == 2
    other = labels(revision="1", key="laptop", model="other-model")
    assert found[f"{prefix}responses_without_usage_total", other] == 1
    assert (f"{prefix}inter_token_latency_seconds_count", other) not in found
    rejected = labels(revision="", key="", model="", reason="invalid_api_key")
    assert found[f"{prefix}errors_total", rejected] == 1


def test_openmetrics_is_negotiated_by_the_accept_header(router):
    exposition = GatewayMetrics(router).expose("application/openmetrics-text; version=1.0.0")
    assert exposition.content_type.startswith("application/openmetrics-text")
    assert exposition.body.endswith(b"# EOF\n")


PROMETHEUS_2_42 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


def test_both_formats_have_the_same_samples(router):
    router.count_response(router.services["openllm"], 1, 200, 0.0003)
    exposition = GatewayMetrics(router).expose(PROMETHEUS_2_42)
    assert exposition.content_type.startswith("application/openmetrics-text; version=1.0.0")
    found = {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in openmetrics.text_string_to_metric_families(exposition.body.decode())
        for sample in family.samples
        if sample.name.startswith("headrace_")
    }
    assert found == {one for one in samples(router) if one[0].startswith("headrace_")}


def test_quarantined_requests_are_counted(router):
    quarantine = router.services["openllm"].quarantine
    for now in range(3):
        loss = Loss(b"x", now, now + 1, is_cut=True, is_isolated=now == 2)
        quarantine.record_death([loss], 1)
    metrics = GatewayMetrics(router, clock=lambda: 3.0)
    line = b'headrace_gateway_quarantined_requests{service="openllm"} 1.0'
    assert line in metrics.expose("").body
