"""What the control plane reads: waiting, outstanding, totals, times."""

import msgspec

from headrace.core.gateway.routes import ReplicaRoute, TargetRoute
from headrace.core.gateway.stats import INTER_TOKEN_BUCKETS_S, TTFT_BUCKETS_S, GatewayStats
from headrace.gateway.reporting.stats import gateway_stats
from headrace.gateway.routing.decisions import Outcome
from headrace.gateway.routing.request_features import RequestFeatures
from headrace.gateway.routing.router import Router
from headrace.gateway.routing.topology import ReplicaEndpoint
from headrace.testing.route_tables import route_table, service_route, target_route


def test_counts_are_attributed_to_replicas_and_revisions():
    router = Router(1000.0)
    route = service_route(
        target_route(1, 50, (1,)), target_route(2, 50, scales_from_zero=True), name="openllm"
    )
    router.replace_table(route_table(route, version=42), 1000.0)
    service = router.services["openllm"]
    first, second, third = (RequestFeatures(None, ()) for _ in range(3))

    choice = router.choose(service, first, (), 1001.0)
    assert isinstance(choice, ReplicaEndpoint)
    router.begin(choice, first, 1001.0)
    router.choose(service, second, (), 1002.0)
    router.count_waiting(service, 2, +1)
    router.choose(service, third, (), 1003.0)
    router.begin(choice, third, 1003.0)
    router.end(choice, Outcome.CUT, 1004.0, 0.3)

    stats = gateway_stats(router, 1005.0)
    assert stats.routes_version == 42
    assert stats.uptime_s == 5.0
    replica = stats.replicas["r1"]
    assert replica.num_outstanding == 1
    assert replica.num_requests_total == 2
    assert replica.num_failures_total == 1
    assert not replica.is_ejected
    assert replica.heard_age_s is None
    choice.last_received_at = 1003.5  # as the connection that reads does
    assert gateway_stats(router, 1005.0).replicas["r1"].heard_age_s == 1.5
    one, two = stats.revisions["openllm/1"], stats.revisions["openllm/2"]
    assert (one.num_waiting, one.num_outstanding, one.num_requests_total) == (0, 1, 2)
    assert (two.num_waiting, two.num_outstanding, two.num_requests_total) == (1, 0, 1)
    assert one.last_request_age_s == 2.0
    assert two.last_request_age_s == 3.0
    assert len(one.ttft_counts) == len(TTFT_BUCKETS_S) + 1
    assert one.ttft_counts[TTFT_BUCKETS_S.index(0.5)] == 1
    assert sum(one.ttft_counts) == 1
    assert msgspec.json.decode(msgspec.json.encode(stats), type=GatewayStats) == stats


def test_traffic_is_summed_over_keys_and_models():
    router = Router(0.0)
    router.replace_table(route_table(service_route(target_route(1, 100, (1,)))), 0.0)
    service = router.services["openllm"]
    for key, model in (("laptop", "a"), ("server", "a"), ("server", "b")):
        counts = router.count_response(service, 1, 200, None, key, model)
        counts.num_prompt_tokens += 10
        counts.num_completion_tokens += 5
        counts.num_cached_tokens += 2
        counts.num_retries += 1
        counts.queue.observe(0.5)
        counts.stream_ttft.observe(0.3)
        counts.inter_token.observe_all([0.02, 0.02])
        counts.count_error("upstream_cut", 200)
    router.count_response(service, 1, 429, None).count_error("queue_full", 429)
    router.count_response(service, 2, 500, None).count_error("replica_error", 500)
    stats = gateway_stats(router, 1.0).revisions["openllm/1"]
    assert stats.num_responses_total == 4
    assert stats.num_errors_total == 3
    assert stats.num_retries_total == 3
    assert stats.num_prompt_tokens_total == 30
    assert stats.num_completion_tokens_total == 15
    assert stats.num_cached_tokens_total == 6
    assert (stats.num_queued_total, stats.queued_s_total) == (3, 1.5)
    assert stats.stream_ttft_counts[TTFT_BUCKETS_S.index(0.5)] == 3
    assert stats.inter_token_counts[INTER_TOKEN_BUCKETS_S.index(0.025)] == 6
    assert len(stats.inter_token_counts) == len(INTER_TOKEN_BUCKETS_S) + 1


def test_a_revision_without_requests_has_no_idle_time():
    router = Router(0.0)
    router.replace_table(route_table(service_route(target_route(3, 100, (1,)))), 0.0)
    revision = gateway_stats(router, 1.0).revisions["openllm/3"]
    assert revision.num_requests_total == 0
    assert revision.last_request_age_s is None


def test_a_replica_with_two_ports_is_one_replica():
    router = Router(0.0)
    targets = [
        TargetRoute(1, port, 50, (ReplicaRoute("r1", "127.0.0.1", 20000 + port),))
        for port in (3000, 3001)
    ]
    router.replace_table(route_table(service_route(*targets)), 0.0)
    service = router.services["openllm"]
    for _ in range(4):
        features = RequestFeatures(None, ())
        choice = router.choose(service, features, (), 0.0)
        assert isinstance(choice, ReplicaEndpoint)
        router.begin(choice, features, 0.0)
    stats = gateway_stats(router, 0.0)
    assert stats.replicas["r1"].num_outstanding == 4
    assert stats.revisions["openllm/1"].num_outstanding == 4
    assert sorted(r.num_outstanding for r in router.replicas.values()) == [2, 2]
