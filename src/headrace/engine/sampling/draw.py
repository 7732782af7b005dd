"""Samples one token per row from logits or weights, each row independently.

Weights are probabilities times any positive constant of the row, so nothing is normalized here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 64
"""Columns per block of sums and searches; weights are padded to a multiple of it."""
ARGMAX_BLOCK = 256
CANDIDATE_COUNTS = (64, 1024)
"""The number of most likely tokens to sort first, and then for rows that keep more. Rows that keep
still more use a threshold search instead."""
_FLOAT32_BITS_OF_ONE = 0x3F800000


@dataclass(frozen=True, slots=True)
class Drawn:
    """One token per row, and whether the row had any token to sample."""

    token_ids: Tensor
    valid: Tensor


def padded_width(vocab_size: int) -> int:
    """The width of a row of weights, rounded up to whole blocks."""
    return -(-vocab_size // BLOCK) * BLOCK


def draw_greedy(logits: Tensor) -> Drawn:
    """The most likely token, the lowest id among equals; logits [R, V] of any float type."""
    token_ids = _argmax(logits)  # [R]
    best = logits.gather(1, token_ids[:, None]).squeeze(1)  # [R]
    return Drawn(token_ids, best.isfinite())


def draw_weighted(weights: Tensor, uniforms: Tensor) -> Drawn:
    """Invert the cumulative distribution, in order of token id, at each row's uniform number.

    Two levels, because a running sum over the whole vocabulary costs more and rounds worse: first
    the block is found from the sums of the blocks, then the token within it.
    weights [R, W] float32, W in whole blocks; uniforms [R] float64.
    """
    blocks = _blocks(weights, BLOCK)  # [R, W/B, B]
    edges = blocks.sum(-1).double().cumsum(-1)  # [R, W/B]
    total = edges[:, -1]  # [R]
    target = _below(uniforms * total, total)
    block = (edges <= target[:, None]).sum(-1)  # [R]
    block.clamp_max_(edges.shape[1] - 1)  # of a row that holds no weight at all
    before = edges.gather(1, (block - 1).clamp_min(0)[:, None]).squeeze(1)  # [R]
    rest = torch.where(block > 0, target - before, target)

    row = torch.arange(weights.shape[0], device=weights.device)
    inner = blocks[row, block].double().cumsum(-1)  # [R, B]
    rest = _below(rest, inner[:, -1])
    offset = (inner <= rest[:, None]).sum(-1).clamp_max(BLOCK - 1)  # [R]
    return Drawn(block * BLOCK + offset, total.isfinite() & (total > 0))


def draw_truncated(weights: Tensor, uniforms: Tensor, top_k: Tensor, top_p: Tensor) -> Drawn:
    """Sample from each row's top_k most likely tokens, of those the fewest that hold top_p of
    their mass; the lower id first among equals.

    Both cuts keep a prefix of the descending order, usually a short one. So only the first number
    of CANDIDATE_COUNTS is sorted at first, the next one for rows that keep more, and rows that
    keep still more use a threshold search.
    weights [R, W] float32 in [0, 1]; uniforms [R] float64; top_k [R] int64, W for no limit;
    top_p [R] float64.
    """
    return _draw_among(weights, uniforms, top_k, top_p, CANDIDATE_COUNTS)


def keep_top_k(weights: Tensor, top_k: Tensor) -> Tensor:
    """Zero all but each row's top_k [R] highest weights [R, W], in place."""

    def reaches(above: Tensor) -> Tensor:
        return above.sum(-1) >= top_k

    threshold = _highest_threshold(weights, reaches)
    return _cut(weights, threshold, top_k - count_above(weights, threshold[:, None]))


def keep_top_p(weights: Tensor, top_p: Tensor) -> Tensor:
    """Zero all but the fewest highest weights [R, W] that hold top_p [R] of a row's sum, in place.

    Rows with a top_p of 1 are left as they are.
    """
    total = _blocks(weights, BLOCK).sum(-1).double().sum(-1)
    limit = top_p * total

    def reaches(above: Tensor) -> Tensor:
        return above.mul_(weights).sum(-1) >= limit

    threshold = _highest_threshold(weights, reaches)
    threshold = torch.where(top_p < 1.0, threshold, 0.0)
    mass_above = (weights * (weights > threshold[:, None])).sum(-1).double()
    spare = ((limit - mass_above) / threshold.clamp_min(1e-38)).ceil().clamp(1.0, 2.0**40)
    return _cut(weights, threshold, spare.long())


def top_candidates(scores: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """The ``num`` highest scores of each row [R, W] and their columns, both [R, num], best first,
    the lower column first among equals."""
    if scores.device.type == "cpu" and num * BLOCK * 4 <= scores.shape[1]:
        values, columns = _top_of_best_blocks(scores, num)
    else:
        values, columns = scores.topk(num, dim=-1, sorted=False)
    columns, order = columns.sort(dim=-1)
    values, order = values.gather(1, order).sort(dim=-1, descending=True, stable=True)
    return values, columns.gather(1, order)


def at_least(scores: Tensor, threshold: Tensor) -> Tensor:
    """1.0 where scores [R, W] float32 are at least the row's threshold [R, 1], else 0.0.

    A mask of floats, because on a CPU the comparison, its product and its sum are several times
    slower with a mask of bools.
    """
    return torch.ge(scores, threshold, out=torch.empty_like(scores))


def count_above(scores: Tensor, threshold: Tensor) -> Tensor:
    """How many scores [R, W] float32 of each row are above its threshold [R, 1]; [R] int64."""
    above = torch.gt(scores, threshold, out=torch.empty_like(scores))
    return above.sum(-1).long()  # exact below 2**24


def _draw_among(
    weights: Tensor, uniforms: Tensor, top_k: Tensor, top_p: Tensor, counts: tuple[int, ...]
) -> Drawn:
    if not counts:
        return draw_weighted(keep_top_p(keep_top_k(weights, top_k), top_p), uniforms)
    num = min(counts[0], weights.shape[1])
    values, token_ids = top_candidates(weights, num)  # [R, C]
    edges = values.double().cumsum(-1)  # [R, C]
    total = _blocks(weights, BLOCK).sum(-1).double().sum(-1)  # [R]
    few = top_k <= num
    kth_edge = edges.gather(1, (top_k.clamp_max(num) - 1)[:, None]).squeeze(1)
    mass = torch.where(few, kth_edge, total)  # [R]
    limit = torch.where(top_p < 1.0, top_p * mass, torch.inf)
    num_kept = (edges < limit[:, None]).sum(-1) + 1  # [R]
    num_kept = torch.minimum(num_kept, top_k.clamp_max(num))

    kept_mass = edges.gather(1, (num_kept - 1)[:, None]).squeeze(1)  # [R]
    target = _below(uniforms * kept_mass, kept_mass)
    place = (edges <= target[:, None]).sum(-1).clamp_max(num - 1)  # [R]
    drawn_ids = token_ids.gather(1, place[:, None]).squeeze(1)
    drawn = Drawn(drawn_ids, kept_mass.isfinite() & (kept_mass > 0))

    no_top_k = top_k == weights.shape[1]
    enough = few | (no_top_k & (edges[:, -1] >= limit)) | ~total.isfinite()
    if bool(enough.all()):
        return drawn
    row = (~enough).nonzero().squeeze(1)
    more = _draw_among(weights[row], uniforms[row], top_k[row], top_p[row], counts[1:])
    drawn.token_ids[row] = more.token_ids
    drawn.valid[row] = more.valid
    return drawn


def _top_of_best_blocks(scores: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """topk, several times faster on a CPU: the best ``num`` scores lie in the ``num`` blocks whose
    maxima are the highest, and finding maxima is vectorized where topk is not."""
    num_rows, width = scores.shape
    num_blocks = width // BLOCK
    blocks = _blocks(scores[:, : num_blocks * BLOCK], BLOCK)  # [R, W/B, B]
    best = blocks.amax(-1).topk(num, dim=-1, sorted=False).indices  # [R, num]
    row = torch.arange(num_rows, device=scores.device)[:, None]
    among = blocks[row, best].flatten(1)  # [R, num * B]
    columns = (best[:, :, None] * BLOCK + torch.arange(BLOCK, device=scores.device)).flatten(1)
    if num_blocks * BLOCK < width:  # the columns after the last whole block
        tail = torch.arange(num_blocks * BLOCK, width, device=scores.device)
        among = torch.cat((among, scores[:, tail]), dim=1)
        columns = torch.cat((columns, tail.expand(num_rows, -1)), dim=1)
    values, place = among.topk(num, dim=-1, sorted=False)  # [R, num]
    return values, columns.gather(1, place)


def _highest_threshold(weights: Tensor, reaches: Callable[[Tensor], Tensor]) -> Tensor:
    """The highest t [R] for which ``reaches`` is true of the weights that are at least t.

    A binary search over the bits of floats in [0, 1], which order as the floats do: exact in 30
    vectorized passes, where a sort of the vocabulary takes ten times as long.
    ``reaches`` gets a mask of 0.0 and 1.0 [R, W], which it may change, and returns [R] bools.
    """
    low = torch.zeros(weights.shape[0], dtype=torch.int32, device=weights.device)  # reached
    high = torch.full_like(low, _FLOAT32_BITS_OF_ONE + 1)  # not reached
    above = torch.empty_like(weights)
    for _ in range(_FLOAT32_BITS_OF_ONE.bit_length()):
        middle = low + (high - low) // 2
        torch.ge(weights, middle.view(torch.float32)[:, None], out=above)
        reached = reaches(above)
        low = torch.where(reached, middle, low)
        high = torch.where(reached, high, middle)
    threshold: Tensor = low.view(torch.float32)
    return threshold


def _cut(weights: Tensor, threshold: Tensor, num_ties_kept: Tensor) -> Tensor:
    """Zero weights below the threshold [R], and all but num_ties_kept [R] of those equal to it."""
    ties = weights == threshold[:, None]  # [R, W]
    weights.mul_(at_least(weights, threshold[:, None]))
    crowded = (ties.sum(-1) > num_ties_kept) & (threshold > 0)
    if bool(crowded.any()):
        late = ties & (ties.cumsum(-1) > num_ties_kept[:, None])
        weights.masked_fill_(late, 0.0)
    return weights


def _argmax(logits: Tensor) -> Tensor:
    """argmax(-1); on a CPU through block maxima, which are vectorized where argmax is not."""
    vocab_size = logits.shape[1]
    num_blocks = vocab_size // ARGMAX_BLOCK
    if logits.device.type != "cpu" or num_blocks < 2:
        return logits.argmax(-1)
    whole = num_blocks * ARGMAX_BLOCK
    maxima = _blocks(logits[:, :whole], ARGMAX_BLOCK).amax(-1)  # [R, V/B]
    if whole < vocab_size:
        maxima = torch.cat((maxima, logits[:, whole:].amax(-1, keepdim=True)), dim=-1)
    start = maxima.argmax(-1, keepdim=True) * ARGMAX_BLOCK  # [R, 1]
    # The last block may be short: its last column is then repeated, which changes nothing.
    columns = (start + torch.arange(ARGMAX_BLOCK)).clamp_max(vocab_size - 1)  # [R, B]
    token_ids: Tensor = start.squeeze(1) + logits.gather(1, columns).argmax(-1)
    return token_ids


def _blocks(matrix: Tensor, size: int) -> Tensor:
    """A view of [R, n * size] as [R, n, size]."""
    return matrix.view(matrix.shape[0], -1, size)


def _below(target: Tensor, total: Tensor) -> Tensor:
    """The target, strictly below the total even after rounding, so that the first edge above it
    belongs to a token with a weight above zero."""
    return torch.minimum(target, torch.nextafter(total, torch.zeros_like(total)))
