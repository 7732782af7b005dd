"""The cache never exceeds the available memory, and always holds one context."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.errors import InvalidParameterError, MemoryFitError
from headrace.engine.hardware.memory import (
    CPU_KV_CACHE_SHARE,
    MIN_CONTEXT_TOKENS,
    KVCacheFit,
    check_weights_fit,
    fit_kv_cache,
    format_bytes,
    format_count,
    free_cpu_memory,
    parse_memory_size,
)
from headrace.kvcache.sliding_window import SlidingWindow, num_request_blocks

GIB = 2**30


def fit(
    free_bytes: int = 10 * GIB,
    reserve_bytes: int = 0,
    block_bytes: int = 2**20,
    max_model_len_wanted: int = 2048,
    max_num_seqs: int | None = 256,
    requested_bytes: int | None = None,
    share: float = 1.0,
    window: SlidingWindow | None = None,
) -> KVCacheFit:
    return fit_kv_cache(
        free_bytes=free_bytes,
        reserve_bytes=reserve_bytes,
        block_bytes=block_bytes,
        block_size=16,
        max_model_len_wanted=max_model_len_wanted,
        max_num_seqs=max_num_seqs,
        requested_bytes=requested_bytes,
        share=share,
        window=window,
    )


@given(
    free=st.integers(0, 2**38),
    reserve=st.integers(0, 2**34),
    block_bytes=st.integers(1, 2**26),
    block_size=st.sampled_from([1, 8, 16, 128]),
    wanted=st.integers(1, 200_000),
    max_num_seqs=st.none() | st.integers(1, 1024),
    requested=st.none() | st.integers(1, 2**38),
    share=st.sampled_from([CPU_KV_CACHE_SHARE, 1.0]),
    window=st.none()
    | st.builds(
        SlidingWindow, size=st.integers(1, 8192), max_num_batched_tokens=st.integers(1, 4096)
    ),
)
def test_the_cache_fits_in_memory_and_holds_one_request_of_full_length(
    free: int,
    reserve: int,
    block_bytes: int,
    block_size: int,
    wanted: int,
    max_num_seqs: int | None,
    requested: int | None,
    share: float,
    window: SlidingWindow | None,
) -> None:
    try:
        fitted = fit_kv_cache(
            free_bytes=free,
            reserve_bytes=reserve,
            block_bytes=block_bytes,
            block_size=block_size,
            max_model_len_wanted=wanted,
            max_num_seqs=max_num_seqs,
            requested_bytes=requested,
            share=share,
            window=window,
        )
    except MemoryFitError:
        budget = int(max(0, free - reserve) * share)
        num_blocks = num_request_blocks(wanted, block_size, window)
        smallest = min(num_blocks, -(-MIN_CONTEXT_TOKENS // block_size)) * block_bytes
        asked_too_much = requested is not None and requested > max(0, free - reserve)
        assert asked_too_much or (requested or budget) < smallest
        return
    taken = fitted.num_blocks * block_bytes
    assert taken <= max(0, free - reserve)
    if requested is not None:
        assert taken <= requested
    else:
        assert taken <= max(0, free - reserve) * share
    assert 1 <= fitted.max_model_len <= wanted
    assert fitted.num_blocks >= num_request_blocks(fitted.max_model_len, block_size, window)
    assert bool(fitted.max_model_len_why) == (fitted.max_model_len < wanted)
    assert fitted.num_blocks_why


def test_on_cpu_half_of_the_free_memory_is_used() -> None:
    fitted = fit(free_bytes=11 * GIB, reserve_bytes=GIB, max_num_seqs=10_000, share=0.5)
    assert fitted.num_blocks == 5 * 1024
    assert fitted.num_blocks_why == "50% of 10.00 GiB free besides weights and activations"


def test_the_cache_is_capped_at_max_num_seqs_of_full_length() -> None:
    fitted = fit(max_num_seqs=4, max_model_len_wanted=100)
    assert fitted.num_blocks == 4 * 7
    assert fitted.num_blocks_why == "4 requests of full length"


def test_without_max_num_seqs_the_whole_budget_is_used() -> None:
    assert fit(max_num_seqs=None).num_blocks == 10 * 1024


def test_the_context_is_lowered_with_a_reason() -> None:
    fitted = fit(free_bytes=4 * 2**20, max_model_len_wanted=2048)
    assert fitted.max_model_len == 64
    assert "lowered from 2048" in fitted.max_model_len_why
    assert "64 tokens" in fitted.max_model_len_why


def test_with_a_window_the_context_may_be_longer_than_the_cache() -> None:
    window = SlidingWindow(size=65, max_num_batched_tokens=33)
    fitted = fit(max_num_seqs=2, window=window)
    assert fitted.max_model_len == 2048
    assert fitted.num_blocks == 2 * (4 + 2 + 1)
    assert "so a request needs 7 blocks" in fitted.num_blocks_why
    assert fit(requested_bytes=7 * 2**20, window=window).max_model_len == 2048
    assert fit(requested_bytes=6 * 2**20, window=window).max_model_len == 6 * 16


def test_a_requested_size_is_used_exactly() -> None:
    fitted = fit(requested_bytes=GIB, max_num_seqs=1)
    assert fitted.num_blocks == 1024
    assert fitted.num_blocks_why == "set by --kv-cache-memory"


def test_an_unavailable_size_is_refused_with_both_sizes() -> None:
    with pytest.raises(MemoryFitError, match=r"asks for 20\.00 GiB, but only 9\.00 GiB are free"):
        fit(reserve_bytes=GIB, requested_bytes=20 * GIB)


def test_without_memory_the_error_has_a_remedy() -> None:
    with pytest.raises(MemoryFitError, match="use a smaller model"):
        fit(free_bytes=GIB, reserve_bytes=2 * GIB)


def test_weights_that_do_not_fit_are_refused_with_both_sizes() -> None:
    with pytest.raises(MemoryFitError, match=r"need 14\.90 GiB \(8\.0B parameters of 2 bytes\)"):
        check_weights_fit(8_000_000_000, 2, 8 * GIB)
    assert check_weights_fit(1000, 2, 2000) == 2000


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GiB", 4 * GIB),
        ("4gib", 4 * GIB),
        ("500MB", 500_000_000),
        ("2g", 2 * GIB),
        ("1.5 GiB", 3 * GIB // 2),
        ("1048576", 2**20),
        ("10B", 10),
        ("64k", 2**16),
    ],
)
def test_accepted_sizes(text: str, size: int) -> None:
    assert parse_memory_size(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1g", "4 gigabytes", "1e9", "0", "0.0GB", "4GiBs"])
def test_other_sizes_are_rejected_by_name(text: str) -> None:
    with pytest.raises(InvalidParameterError) as refused:
        parse_memory_size(text)
    assert refused.value.param == "kv_cache_memory"


def test_sizes_are_formatted() -> None:
    assert format_bytes(12) == "12 B"
    assert format_bytes(1536) == "1.5 KiB"
    assert format_bytes(3 * GIB // 2) == "1.50 GiB"
    assert [format_count(n) for n in (12, 134_515_008, 8_000_000_000)] == ["12", "134.5M", "8.0B"]


def test_this_machine_has_free_memory() -> None:
    assert 0 < free_cpu_memory() < 2**50


@pytest.mark.parametrize("num_models", [1, 2, 3])
def test_models_that_share_memory_get_equal_parts_of_the_cache(num_models: int) -> None:
    def fitted(num_models: int, requested_bytes: int | None = None) -> int:
        return fit_kv_cache(
            free_bytes=6 * GIB,
            reserve_bytes=0,
            block_bytes=2**20,
            block_size=16,
            max_model_len_wanted=10**6,
            max_num_seqs=256,
            requested_bytes=requested_bytes,
            share=CPU_KV_CACHE_SHARE,
            num_models=num_models,
        ).num_blocks

    assert fitted(num_models) == fitted(1) // num_models
    assert fitted(num_models, requested_bytes=GIB) == 1024
