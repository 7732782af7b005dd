"""Every figure against values computed by hand, and invariants for any records."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bench.errors import OptionError
from headrace.bench.figures.distribution import distribution_of
from headrace.bench.figures.goodput import GoodputLimits, parse_limits
from headrace.bench.figures.run_figures import figures_of, gaps_s, is_well_served
from headrace.bench.records import Failure, RequestRecord


def streamed(sent_s: float = 0.0, **more: object) -> RequestRecord:
    """Five tokens in four chunks, the first after 0.5 s, then 0.1, 0.2 and 0.1 s apart."""
    record = RequestRecord(
        index=0,
        sent_s=sent_s,
        first_token_s=sent_s + 0.5,
        ended_s=sent_s + 1.0,
        chunk_times_s=[sent_s + 0.5, sent_s + 0.6, sent_s + 0.8, sent_s + 0.9],
        num_prompt_tokens=10,
        num_output_tokens=5,
        status=200,
        finish_reason="length",
    )
    for name, value in more.items():
        setattr(record, name, value)
    return record


def failed(kind: Failure, status: int | None = None) -> RequestRecord:
    return RequestRecord(index=9, sent_s=0.0, ended_s=4.0, failure=kind, status=status)


def test_percentiles_match_their_names() -> None:
    found = distribution_of([float(value) for value in range(100, -1, -1)])
    assert found is not None
    assert (found.num, found.min, found.max, found.mean) == (101, 0.0, 100.0, 50.0)
    assert (found.median, found.p50, found.p90, found.p95, found.p99) == (50, 50, 90, 95, 99)
    assert distribution_of([]) is None


def test_one_streamed_request() -> None:
    figures = figures_of([streamed()], duration_s=1.0)
    assert figures.latency_s is not None
    assert figures.latency_s.mean == pytest.approx(1.0)
    assert figures.ttft_s is not None
    assert figures.ttft_s.p50 == pytest.approx(0.5)
    assert figures.tpot_s is not None
    assert figures.tpot_s.p50 == pytest.approx((1.0 - 0.5) / 4)
    assert figures.itl_s is not None
    assert figures.itl_s.num == 3
    assert figures.itl_s.mean == pytest.approx(0.4 / 3)
    assert figures.itl_s.max == pytest.approx(0.2)
    assert figures.generation_tokens_per_s is not None
    assert figures.generation_tokens_per_s.p50 == pytest.approx(5.0)
    assert figures.tokens.num_chunks == 4
    assert figures.tokens.tokens_per_chunk == pytest.approx(5 / 4)


def test_figures_without_usage_are_none() -> None:
    uncounted = streamed(num_prompt_tokens=None, num_output_tokens=None, chunk_times_s=[])
    figures = figures_of([streamed(), uncounted], duration_s=1.0)
    assert (figures.num_prompt_tokens, figures.num_output_tokens) == (10, 5)
    assert figures.total_tokens_per_s == 15.0


def test_a_response_of_zero_duration_has_no_rate() -> None:
    figures = figures_of([streamed(ended_s=0.0)], duration_s=1.0)
    assert figures.generation_tokens_per_s is None


def test_throughput_counts_tokens_of_successful_requests_over_the_whole_duration() -> None:
    records = [streamed(), streamed(1.0), failed(Failure.HTTP_STATUS, 503), failed(Failure.CUT)]
    figures = figures_of(records, duration_s=4.0)
    assert (figures.num_requests, figures.num_successful, figures.num_failed) == (4, 2, 2)
    assert figures.requests_per_s == 0.5
    assert figures.output_tokens_per_s == 10 / 4
    assert figures.total_tokens_per_s == 30 / 4
    assert figures.failures == {"http_status": 1, "cut": 1}
    assert figures.statuses == {"200": 2, "503": 1}
    assert figures.finish_reasons == {"length": 2}
    assert figures.latency_s is not None
    assert figures.latency_s.max == pytest.approx(1.0)  # the failed ones took 4 s


def test_responses_without_streaming_have_no_chunk_times() -> None:
    whole = RequestRecord(index=0, sent_s=0.0, ended_s=2.0, num_output_tokens=8, status=200)
    figures = figures_of([whole], duration_s=2.0)
    assert figures.ttft_s is figures.tpot_s is figures.itl_s is None
    assert figures.tokens.tokens_per_chunk is None
    assert figures.generation_tokens_per_s is not None
    assert figures.generation_tokens_per_s.mean == 4.0


def test_tokens_come_from_usage_then_from_the_tokenizer_and_never_from_chunks() -> None:
    with_both = streamed(num_counted_tokens=4)
    with_tokenizer = streamed(num_output_tokens=None, num_counted_tokens=6)
    with_chunks = streamed(num_output_tokens=None)
    figures = figures_of([with_both, with_tokenizer, with_chunks], duration_s=1.0)
    assert figures.num_output_tokens == 5 + 6
    assert figures.tokens.by_usage == 5
    assert figures.tokens.by_tokenizer == 10
    assert figures.tokens.tokenizer_to_usage == pytest.approx(4 / 5)
    assert figures.tokens.num_uncounted_requests == 1
    assert figures.tpot_s is not None
    assert figures.tpot_s.num == 2


def test_one_token_has_no_time_per_output_token() -> None:
    figures = figures_of([streamed(num_output_tokens=1)], duration_s=1.0)
    assert figures.tpot_s is None


def test_concurrency() -> None:
    overlapping = [
        streamed(0.0),
        streamed(0.5),
        streamed(1.0),
    ]  # the first ends as the third begins
    figures = figures_of(overlapping, duration_s=2.0)
    assert figures.peak_concurrency == 2
    assert figures.mean_concurrency == pytest.approx(1.5)


def test_latency_counts_from_the_scheduled_time() -> None:
    times = [(0.0, 0.0), (1.0, 3.0), (2.0, 6.0)]
    records = [
        RequestRecord(index=0, sent_s=sent_s, ended_s=sent_s + 1.0, due_s=due_s)
        for due_s, sent_s in times
    ]
    figures = figures_of(records, 7.0)
    assert figures.wait_s is not None
    assert (figures.wait_s.min, figures.wait_s.mean, figures.wait_s.max) == (0.0, 2.0, 4.0)
    assert figures.latency_s is not None
    assert figures.latency_s.max == 1.0
    records = [RequestRecord(index=0, sent_s=0.0, ended_s=1.0)]
    assert figures_of(records, 1.0).wait_s is None


def test_figures_of_no_records() -> None:
    figures = figures_of([], duration_s=0.0, limits=GoodputLimits(ttft=1.0))
    assert figures.requests_per_s == 0.0
    assert figures.latency_s is None
    assert figures.goodput is not None
    assert figures.goodput.share == 0.0


@pytest.mark.parametrize(
    ("limit", "is_good"),
    [
        ("ttft:500", True),
        ("ttft:499", False),
        ("tpot:125", True),
        ("tpot:124", False),
        ("itl:134", True),
        ("itl:133", False),
        ("max_itl:201", True),
        ("max_itl:199", False),
        ("e2el:1000", True),
        ("e2el:999", False),
    ],
)
def test_each_goodput_limit(limit: str, is_good: bool) -> None:
    limits = parse_limits([limit])
    assert limits is not None
    assert is_well_served(streamed(), limits) is is_good


@pytest.mark.parametrize("limit", ["tpot:1", "itl:1", "max_itl:1"])
def test_a_figure_that_a_response_lacks_meets_its_limit(limit: str) -> None:
    limits = parse_limits([limit])
    assert limits is not None
    assert is_well_served(streamed(num_output_tokens=1, chunk_times_s=[0.5]), limits)


def test_goodput_counts_all_sent_requests() -> None:
    records = [streamed(), streamed(), streamed(first_token_s=0.9), failed(Failure.TIMEOUT)]
    goodput = figures_of(records, 2.0, parse_limits(["ttft:600", "e2el:2000"])).goodput
    assert goodput is not None
    assert (goodput.num_good, goodput.requests_per_s, goodput.share) == (2, 1.0, 0.5)


@pytest.mark.parametrize(
    "pair", ["ttft", "ttft:", "ttft:-1", "ttft:0", "ttft:inf", "speed:5", "ttft=500"]
)
def test_invalid_limits_are_refused(pair: str) -> None:
    with pytest.raises(OptionError, match="--goodput"):
        parse_limits([pair])


def test_duplicate_limits_are_refused() -> None:
    with pytest.raises(OptionError, match="twice"):
        parse_limits(["ttft:1", "ttft:2"])
    assert parse_limits([]) is None


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=50))
def test_a_distribution_is_ordered_and_equals_numpys(values: list[float]) -> None:
    spread = distribution_of(values)
    assert spread is not None
    ordered = [spread.min, spread.p50, spread.p90, spread.p95, spread.p99, spread.max]
    assert ordered == sorted(ordered)
    assert spread.p95 == np.percentile(values, 95, method="linear")
    assert spread.median == np.median(values)
    assert spread.std == np.std(values)


@given(st.lists(st.floats(0.0, 10.0), min_size=2, max_size=30), st.integers(2, 500))
def test_gaps_add_up_to_the_time_per_output_token(gaps: list[float], num_tokens: int) -> None:
    """Both measure the same span, for any chunks."""
    times = np.cumsum([1.0, *gaps]).tolist()
    record = RequestRecord(
        index=0,
        sent_s=0.0,
        first_token_s=times[0],
        ended_s=times[-1],
        chunk_times_s=times,
        num_output_tokens=num_tokens,
    )
    figures = figures_of([record], duration_s=1.0)
    assert figures.tpot_s is not None
    assert figures.tpot_s.mean * (num_tokens - 1) == pytest.approx(sum(gaps_s(record)))
