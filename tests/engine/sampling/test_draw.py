import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine.sampling.draw import (
    draw_greedy,
    draw_truncated,
    draw_weighted,
    keep_top_k,
    keep_top_p,
    padded_width,
    top_candidates,
)

WIDTHS = [64, 640, 5000, 20000]


def random_scores(num_rows: int, width: int, levels: int | None = None) -> torch.Tensor:
    generator = torch.Generator().manual_seed(width)
    scores = torch.randn(num_rows, width, generator=generator)
    return scores if levels is None else (scores * levels).round() / levels


def weights_of(num_rows: int, vocab_size: int, levels: int | None = None) -> torch.Tensor:
    logits = random_scores(num_rows, vocab_size, levels) * 2
    weights = torch.zeros(num_rows, padded_width(vocab_size))
    weights[:, :vocab_size] = (logits - logits.amax(-1, keepdim=True)).exp()
    return weights


@pytest.mark.parametrize("width", [1, 300, 512, 513, 20000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_greedy_is_argmax_with_the_lowest_id_among_equals(width: int, dtype: torch.dtype) -> None:
    logits = random_scores(9, width, levels=2).to(dtype)
    best = logits.amax(-1)
    drawn = draw_greedy(logits)
    assert drawn.valid.all()
    for row in range(9):
        first = (logits[row] == best[row]).nonzero()[0].item()
        assert drawn.token_ids[row].item() == first


@pytest.mark.parametrize("width", [300, 5000, 20000])
@pytest.mark.parametrize("num", [1, 20, 64])
def test_top_candidates_are_the_first_of_a_stable_sort(width: int, num: int) -> None:
    scores = random_scores(5, width)  # without ties at the edge, where any of the equal may be in
    values, columns = top_candidates(scores, num)
    all_values, all_columns = scores.sort(dim=-1, descending=True, stable=True)
    assert torch.equal(values, all_values[:, :num])
    assert torch.equal(columns, all_columns[:, :num])


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("levels", [None, 3])
@pytest.mark.parametrize("top_k", [1, 10, 63])
def test_keep_top_k_keeps_the_first_of_a_stable_sort(
    width: int, levels: int | None, top_k: int
) -> None:
    weights = weights_of(4, width, levels)
    columns = weights.sort(dim=-1, descending=True, stable=True).indices[:, :top_k]
    expected = torch.zeros_like(weights).scatter(1, columns, weights.gather(1, columns))
    assert torch.equal(keep_top_k(weights, torch.full((4,), top_k)), expected)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("levels", [None, 3])
@pytest.mark.parametrize("top_p", [1e-6, 0.3, 0.9])
def test_keep_top_p_keeps_the_smallest_sufficient_set(
    width: int, levels: int | None, top_p: float
) -> None:
    weights = weights_of(4, width, levels)
    values, columns = weights.sort(dim=-1, descending=True, stable=True)
    edges = values.double().cumsum(-1)
    in_nucleus = edges - values.double() < top_p * edges[:, -1:]
    expected = torch.zeros_like(weights).scatter(1, columns, values * in_nucleus)
    kept = keep_top_p(weights.clone(), torch.full((4,), top_p, dtype=torch.float64))
    differ = ((kept > 0) != (expected > 0)).sum(-1)
    assert differ.max() <= (0 if top_p < 0.01 else 1)  # where rounding of the sum decides


def test_keep_top_p_of_one_keeps_all() -> None:
    weights = weights_of(2, 640)
    assert torch.equal(keep_top_p(weights.clone(), torch.ones(2, dtype=torch.float64)), weights)


@pytest.mark.parametrize("vocab_size", [5, 64, 1000])
def test_uniform_numbers_map_to_tokens_by_weight(vocab_size: int) -> None:
    weights = weights_of(1, vocab_size)
    num = 200_000 // padded_width(vocab_size)
    uniforms = (torch.arange(num, dtype=torch.float64) + 0.5) / num
    drawn = draw_weighted(weights.expand(num, -1).contiguous(), uniforms)
    shares = torch.bincount(drawn.token_ids, minlength=weights.shape[1]) / num
    # Each interval of the cumulative distribution holds its share of equal steps, but for its ends.
    assert (shares - weights[0] / weights.sum()).abs().max() <= 1.01 / num
    assert (drawn.token_ids.diff() >= 0).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1e-38, 1e-9, 0.3, 1.0]), min_size=64, max_size=64))
def test_a_token_of_weight_zero_is_never_sampled(row: list[float]) -> None:
    weights = torch.tensor([row] * 4)
    uniforms = torch.tensor([0.0, 0.5, 1 - 2.0**-53, 1e-300], dtype=torch.float64)
    drawn = draw_weighted(weights, uniforms)
    if sum(row) == 0:
        assert not drawn.valid.any()
        return
    assert drawn.valid.all()
    assert (weights[0, drawn.token_ids] > 0).all()


def test_large_and_small_candidate_sets_are_cut_equally() -> None:
    # The same cut reached on every rung: by candidates, by more candidates, by threshold.
    weights = weights_of(1, 20000).expand(3, -1).contiguous()
    limit = weights.shape[1]
    num_draws = 500
    uniforms = (torch.arange(num_draws, dtype=torch.float64) + 0.5) / num_draws
    for top_k, top_p in [(50, 1.0), (700, 1.0), (5000, 1.0), (limit, 0.5), (5000, 0.5), (9, 0.5)]:
        order = weights[0].argsort(descending=True, stable=True)[:top_k]
        shares = weights[0, order].double()
        shares /= shares.sum()
        allowed = order[shares.cumsum(0) - shares < top_p]
        drawn = draw_truncated(
            weights[:1].expand(num_draws, -1).contiguous(),
            uniforms,
            torch.full((num_draws,), top_k),
            torch.full((num_draws,), top_p, dtype=torch.float64),
        )
        assert drawn.valid.all()
        assert torch.isin(drawn.token_ids, allowed).all()
        # The likeliest token has its share of what is left.
        share = (weights[0, allowed[0]] / weights[0, allowed].sum()).item()
        hits = (drawn.token_ids == allowed[0]).double().mean().item()
        assert abs(hits - share) <= 1.01 / num_draws
