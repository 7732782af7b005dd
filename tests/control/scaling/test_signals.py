import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from headrace.control.processes.process_usage import Allowance, ProcessUsage
from headrace.control.scaling.autoscaling_policy import Signal
from headrace.control.scaling.replica_metrics import ReplicaPage, parse_page
from headrace.control.scaling.signals import Sample, quantile, recent, signal_values_of
from headrace.core.gateway.stats import TTFT_BUCKETS_S, RevisionStats
from headrace.server.reporting.metric_families import Families

NUM_BUCKETS = len(TTFT_BUCKETS_S) + 1
NO_ANSWERS = (0,) * NUM_BUCKETS


def gateway(
    num_waiting: int = 0,
    num_outstanding: int = 0,
    num_requests: int = 0,
    ttft: Sequence[int] = NO_ANSWERS,
) -> RevisionStats:
    return RevisionStats(num_waiting, num_outstanding, num_requests, tuple(ttft), 1.0)


def value(signal: Signal, *samples: Sample) -> float | None:
    return signal_values_of(samples).values.get(signal)


def test_requests_a_second_are_counted_across_a_restart_of_the_gateway() -> None:
    totals = [100, 160, 30]  # 60 more, then 30 since it was started anew
    samples = [Sample(5.0 * i, 1, gateway(num_requests=n)) for i, n in enumerate(totals)]
    assert value(Signal.RPS, *samples) == pytest.approx(9.0)


def test_one_reading_gives_no_rate_and_a_silent_gateway_nothing() -> None:
    assert value(Signal.RPS, Sample(0, 1, gateway())) is None
    silent = signal_values_of([Sample(0, 1, gateway()), Sample(5, 1, None)])
    assert silent.values == {}
    assert silent.num_waiting is None


def test_concurrency_is_what_runs_and_what_waits_averaged_over_the_window() -> None:
    samples = [Sample(0, 1, gateway(1, 3)), Sample(1, 1, gateway(4, 4))]
    assert value(Signal.CONCURRENCY, *samples) == 6.0


def test_ttft_is_the_90th_percentile_of_the_windows_answers() -> None:
    before = [5] + [0] * (NUM_BUCKETS - 1)
    after = [5, 0, 0, 0, 8, 0, 0, 2] + [0] * (NUM_BUCKETS - 8)  # 8 up to 0.25 s, 2 up to 2.5 s
    samples = [Sample(0, 1, gateway(ttft=before)), Sample(10, 1, gateway(ttft=after))]
    assert value(Signal.TTFT, *samples) == pytest.approx(1.0 + 1.5 / 2)


def test_without_answers_ttft_is_at_least_the_window_when_somebody_waits() -> None:
    def ttft(num_waiting: int, num_outstanding: int) -> float | None:
        stats = gateway(num_waiting, num_outstanding)
        return value(Signal.TTFT, Sample(0, 1, stats), Sample(12, 1, stats))

    assert ttft(1, 0) == 12.0
    assert ttft(0, 0) == 0.0
    assert ttft(0, 3) is None  # long answers, and nothing new


def page(num_waiting: float, num_finished: float, usage: float | None = 0.5) -> ReplicaPage:
    return ReplicaPage(num_waiting, usage, num_finished)


def queue_time(*pages: dict[str, ReplicaPage]) -> float | None:
    return value(Signal.QUEUE_TIME, *(Sample(10.0 * i, 1, pages=p) for i, p in enumerate(pages)))


def test_queue_time_is_the_mean_queue_by_what_leaves_it() -> None:
    # 6 wait on average, and 30 leave in 20 s: each waits 4 s.
    before = {"a": page(2, 100), "b": page(4, 0)}
    assert queue_time(before, {"a": page(6, 105)}, {"a": page(6, 130)}) == pytest.approx(4.0)


def test_with_nothing_that_leaves_the_queue_time_is_the_window() -> None:
    assert queue_time({"a": page(1, 5)}, {"a": page(1, 5)}) == 10.0
    assert queue_time({"a": page(0, 5)}, {"a": page(0, 5)}) == 0.0


def test_a_replica_that_started_anew_counts_from_its_next_reading() -> None:
    assert queue_time({"a": page(3, 50)}, {"a": page(3, 2)}) == 10.0
    assert queue_time({"a": page(3, 50)}, {"a": page(3, 2)}, {"a": page(3, 5)}) == 20.0


def test_servers_without_such_metrics_give_no_signal() -> None:
    assert parse_page("# HELP x y\nx 1\nprocess_cpu_seconds_total 4\n") is None
    assert value(Signal.QUEUE_TIME, Sample(0, 1), Sample(5, 1)) is None
    assert value(Signal.KV_CACHE, Sample(5, 1, pages={"a": page(0, 0, None)})) is None


@pytest.mark.parametrize("name", ["kv_cache_usage_perc", "gpu_cache_usage_perc"])
def test_pages_are_read_by_vllms_old_and_new_names_and_summed_over_engines(name: str) -> None:
    text = f"""# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{{engine="0",model_name="m"}} 3.0
vllm:num_requests_waiting{{engine="1",model_name="m"}} 4.0
vllm:num_requests_waiting_by_reason{{engine="1"}} 9.0
vllm:{name}{{engine="0"}} 0.25
vllm:{name}{{engine="1"}} 0.75
vllm:request_queue_time_seconds_bucket{{engine="0",le="0.3"}} 7.0
vllm:request_queue_time_seconds_sum{{engine="0"}} 1.5e+01
vllm:request_queue_time_seconds_count{{engine="0"}} 30
"""
    assert parse_page(text) == ReplicaPage(7.0, 0.5, 30.0)


def test_counters_are_read_by_vllms_old_and_new_names_and_summed_over_engines() -> None:
    def text(prefix: str, latency: str) -> str:
        return f"""vllm:num_requests_waiting{{engine="0"}} 0
vllm:{prefix}prefix_cache_queries_total{{engine="0"}} 100
vllm:{prefix}prefix_cache_queries_total{{engine="1"}} 50
vllm:{prefix}prefix_cache_hits_total{{engine="0"}} 40
vllm:{latency}_bucket{{engine="0",le="0.01",model_name="m"}} 3
vllm:{latency}_bucket{{engine="1",le="0.01",model_name="m"}} 1
vllm:{latency}_bucket{{engine="0",le="+Inf",model_name="m"}} 5
vllm:{latency}_bucket{{engine="1",le="+Inf",model_name="m"}} 1
vllm:{latency}_bucket{{engine="1",le="wrong"}} 1
vllm:num_preemptions_total{{engine="0"}} NaN
"""

    for page in (
        parse_page(text("", "inter_token_latency_seconds")),
        parse_page(text("gpu_", "time_per_output_token_seconds")),
    ):
        assert page is not None
        assert page.prefix_cache_queries_total == 150.0
        assert page.prefix_cache_hits_total == 40.0
        assert page.inter_token_counts == {0.01: 4.0, math.inf: 2.0}
        assert page.preemptions_total is None
        assert page.prompt_tokens_total is None


def test_headraces_own_server_has_these_metrics() -> None:
    registry = CollectorRegistry()
    families = Families(registry, "m", 1000)
    families.waiting.set(2)
    families.kv_usage.set(0.4)
    families.queue_time.observe(3.0)
    families.running.set(3)
    families.prompt_tokens.inc(100)
    families.generation_tokens.inc(20)
    families.cache_queries.inc(100)
    families.cache_hits.inc(64)
    families.preemptions.inc(2)
    families.inter_token_latency.observe(0.02)
    families.inter_token_latency.observe(0.02)
    families.inter_token_latency.observe(500.0)
    page = parse_page(generate_latest(registry).decode())
    assert page is not None
    assert (page.num_waiting, page.kv_cache_usage, page.num_finished_total) == (2.0, 0.4, 1.0)
    assert page.num_running == 3.0
    assert (page.prompt_tokens_total, page.generation_tokens_total) == (100.0, 20.0)
    assert (page.prefix_cache_queries_total, page.prefix_cache_hits_total) == (100.0, 64.0)
    assert page.preemptions_total == 2.0
    assert page.inter_token_counts[0.025] == 2.0
    assert page.inter_token_counts[math.inf] == 1.0
    assert sum(page.inter_token_counts.values()) == 3.0


def test_shares_are_of_what_a_replica_may_use_and_unknown_ones_do_not_count() -> None:
    usages = {
        "a": ProcessUsage(3.0, 2_000, None),
        "b": ProcessUsage(1.0, 4_000, 80.0),
        "c": ProcessUsage(None, 0, None),
    }
    sample = Sample(0, 3, usages=usages, allowance=Allowance(4.0, 10_000))
    values = signal_values_of([sample]).values
    assert values[Signal.CPU] == 50.0
    assert values[Signal.MEMORY] == 20.0
    assert values[Signal.GPU] == 80.0


def test_shares_of_an_unknown_allowance_are_not_known() -> None:
    values = signal_values_of([Sample(0, 1, usages={"a": ProcessUsage(3.0, 2_000, None)})]).values
    assert values.keys().isdisjoint({Signal.CPU, Signal.MEMORY, Signal.GPU})
    assert signal_values_of([Sample(0, 1, allowance=Allowance(4.0, 10_000))]).values == {}


def test_the_kv_cache_is_told_in_percent_of_the_mean_replica() -> None:
    pages = {"a": page(0, 0, 0.25), "b": page(0, 0, 0.75), "c": page(0, 0, None)}
    assert value(Signal.KV_CACHE, Sample(5, 3, pages=pages)) == 50.0


def test_what_is_under_way_is_what_the_gateway_said_last() -> None:
    samples = [
        Sample(0, 2, RevisionStats(1, 2, 3, NO_ANSWERS, 4.0)),
        Sample(5, 3, RevisionStats(6, 7, 8, NO_ANSWERS, 9.0)),
    ]
    samples = signal_values_of(samples)
    assert (samples.num_ready, samples.num_waiting, samples.num_outstanding) == (3, 6, 7)
    assert samples.last_request_age_s == 9.0


def test_rates_are_known_from_the_second_reading_on_however_soon_it_comes() -> None:
    stats = [gateway(num_requests=n, ttft=[n] + [0] * (NUM_BUCKETS - 1)) for n in (0, 3)]
    both = (Sample(0.0, 1, stats[0]), Sample(0.5, 1, stats[1]))
    assert value(Signal.RPS, *both) == 6.0
    assert value(Signal.TTFT, *both) is not None
    assert value(Signal.TTFT, both[1]) is None


def test_a_reading_at_the_windows_edge_is_in_it() -> None:
    samples = [Sample(at_s, 1) for at_s in (0.0, 4.0, 10.0, 20.0)]
    assert [sample.at_s for sample in recent(samples, 20.0, 10.0)] == [4.0, 10.0, 20.0]


def test_the_window_begins_with_the_last_reading_before_it() -> None:
    samples = [Sample(at_s, 1) for at_s in (0.0, 4.0, 9.0, 12.0, 20.0)]
    assert [sample.at_s for sample in recent(samples, 20.0, 10.0)] == [9.0, 12.0, 20.0]


lines = st.builds(
    "vllm:{}{}{} {}".format,
    st.sampled_from(
        ["num_requests_waiting", "kv_cache_usage_perc", "inter_token_latency_seconds_bucket", "x"]
    ),
    st.sampled_from(
        ["", '{le="0.1"}', '{le="+Inf"}', '{le="NaN"}', '{le=""}', "{", '{le="1e999"}']
    ),
    st.sampled_from(["", " "]),
    st.sampled_from(["1", "-1", "NaN", "1e308", "+Inf", "1e999", "x"]) | st.text(max_size=5),
)


@given(st.lists(lines | st.text(max_size=30), max_size=30).map("\n".join))
def test_whatever_a_replica_sends_is_a_page_of_finite_numbers_or_none(text: str) -> None:
    page = parse_page(text)
    if page is not None:
        values = [page.num_waiting, page.num_running, *page.inter_token_counts.values()]
        assert all(0 <= value < math.inf for value in values)
        assert not any(math.isnan(bound) for bound in page.inter_token_counts)


def test_a_histogram_with_thousands_of_buckets_is_not_read() -> None:
    text = "vllm:num_requests_waiting 1\n" + "".join(
        f'vllm:inter_token_latency_seconds_bucket{{le="{n}"}} {n}\n' for n in range(5000)
    )
    page = parse_page(text)
    assert page is not None
    assert page.inter_token_counts == {}


@given(
    st.lists(st.integers(0, 50), min_size=NUM_BUCKETS, max_size=NUM_BUCKETS).filter(any),
    st.floats(0.01, 0.99),
)
def test_a_quantile_lies_in_the_bucket_where_its_rank_falls(
    counts: list[int], share: float
) -> None:
    found = quantile(counts, TTFT_BUCKETS_S, share)
    below_or_at = sum(n for n, edge in zip(counts, TTFT_BUCKETS_S, strict=False) if edge <= found)
    lower_edges = [0.0, *TTFT_BUCKETS_S]
    above = sum(n for n, edge in zip(counts, lower_edges, strict=True) if edge >= found)
    assert below_or_at <= share * sum(counts) + 1e-6 or found in TTFT_BUCKETS_S
    assert above <= (1 - share) * sum(counts) + 1e-6 or found in TTFT_BUCKETS_S
