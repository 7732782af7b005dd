"""Samples tokens from logits, with each row's sampling parameters.

Every operation works row by row, and randomness comes from ``random_key``: a row draws the same
token whatever else is in its batch. A row from which nothing can be sampled, or whose parameters
make an operation raise, fails alone.

The steps, in the order in which vLLM's V1 sampler documents them:

1. Ban the tokens that the request's grammar does not allow, and EOS and stop tokens of requests
   with fewer than ``min_tokens`` output tokens.
2. Add ``logit_bias``.
3. Apply penalties: repetition, frequency, presence. Ban all but ``allowed_token_ids``, and the
   tokens that would complete one of ``bad_words``.
4. Greedy rows take the best token. The others divide by temperature, then drop tokens by ``min_p``,
   then by ``top_k``, then by ``top_p`` of what is left, and invert the cumulative distribution at
   the row's random number.
5. Log-probabilities are those of the untouched logits, before step 1.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from headrace.core.generation.outputs import RequestFailure, TokenLogprobs
from headrace.engine.grammar.token_masks import TokenMasks
from headrace.engine.request_state import RequestState
from headrace.engine.sampling.draw import (
    Drawn,
    at_least,
    draw_greedy,
    draw_truncated,
    draw_weighted,
    padded_width,
)
from headrace.engine.sampling.logprobs import raw_logprobs
from headrace.engine.sampling.mask import apply_masks
from headrace.engine.sampling.penalties import Penalties
from headrace.engine.sampling.random_key import Doubles, uniforms
from headrace.engine.sampling.sampling_plan import (
    BannedTokens,
    Entries,
    RandomDraw,
    RowGroup,
    SamplingPlan,
    entries,
    make_plan,
)

logger = logging.getLogger(__name__)

GROUP_ELEMENTS_CPU = 2**21
"""Weights per group of rows: 8 MiB in float32, about the size of a core's caches."""
GROUP_ELEMENTS_CUDA = 2**24
"""64 MiB: enough to occupy a device, small compared with its KV cache."""

_NO_LOGITS = RequestFailure(
    "The model computed NaN, infinite or no logits for this request, so no token can be drawn. "
    "Check that its weights are intact; with float16, try bfloat16 or float32."
)
_ALL_BANNED = RequestFailure(
    "no token is left to draw before min_tokens is reached: stop_token_ids and the model's "
    "end-of-sequence tokens are the whole vocabulary",
    is_invalid_request=True,
    param="min_tokens",
)
_NONE_ALLOWED = RequestFailure(
    "no token is left to draw: bad_words and min_tokens ban all of them",
    is_invalid_request=True,
    param="allowed_token_ids",
)
_NO_GRAMMAR_TOKEN = RequestFailure(
    "The model gives no probability to any token that the grammar allows.",
    is_invalid_request=True,
)
_NO_TOKEN = RequestFailure(
    "These sampling parameters leave no token to draw.", is_invalid_request=True
)


@dataclass(slots=True)
class SamplerOutput:
    """One drawn token for each row of logits, in order."""

    token_ids: list[int]
    logprobs: list[TokenLogprobs | None]
    failures: dict[str, RequestFailure] = field(default_factory=dict)
    """By request id, why no token could be drawn. The entries of such a row in the lists above are
    placeholders."""


class Sampler:
    """Samples tokens for one model on one device. Keeps token counts of requests with penalties
    until they are released."""

    def __init__(self, vocab_size: int, device: torch.device | str) -> None:
        self._vocab_size = vocab_size
        self._device = torch.device(device)
        on_cpu = self._device.type == "cpu"
        num_elements = GROUP_ELEMENTS_CPU if on_cpu else GROUP_ELEMENTS_CUDA
        self.max_group_rows = max(1, num_elements // padded_width(vocab_size))
        """Rows of weights or logits to compute on at once."""
        self._plan: SamplingPlan | None = None
        self._bans = _Bans(self._device)
        self._penalties = Penalties(vocab_size)
        self._weights = torch.zeros(0, padded_width(vocab_size), device=self._device)
        """Scratch [rows, W], reused because allocating it costs more than the work done in it. Its
        columns from V on stay 0, so they are never sampled."""

    @torch.inference_mode()
    def sample(
        self, logits: Tensor, rows: list[RequestState], masks: TokenMasks | None = None
    ) -> SamplerOutput:
        """Draw the next token of each request from its row of logits [R, V], of any float type.

        masks: of the requests with a grammar, in the order of ``rows``. The logits may be changed.
        A row from which nothing can be drawn is reported in the
        output's ``failures``; the other rows draw what they would have drawn without it.
        """
        if not rows:
            return SamplerOutput([], [])
        try:
            return self._sample_masked(logits, rows, masks)
        except Exception:
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)  # raises if the device itself has failed
            return self._sample_one_by_one(logits, rows, masks)

    def release(self, request_ids: Iterable[str]) -> None:
        """Drop the state of these requests. One that resumes is counted from the start."""
        released = list(request_ids)
        if not released:
            return
        self._plan = None
        self._penalties.release(released)

    def _sample_masked(
        self, logits: Tensor, rows: list[RequestState], masks: TokenMasks | None
    ) -> SamplerOutput:
        if masks is None:
            return self._sample(logits, rows, logits)
        plan = self._plan_for(rows)
        untouched = logits.clone() if plan.logprobs else logits
        apply_masks(logits, [row.request_id for row in rows], masks)
        try:
            return self._sample(logits, rows, untouched)
        except Exception:
            if untouched is not logits:
                logits.copy_(untouched)
            raise

    def _sample(self, logits: Tensor, rows: list[RequestState], untouched: Tensor) -> SamplerOutput:
        """untouched: the model's own logits, for log-probabilities."""
        plan = self._plan_for(rows)
        banned = self._bans.active(plan.banned)
        kept = None
        if banned is not None:
            kept = logits[banned.rows, banned.token_ids]
            logits[banned.rows, banned.token_ids] = -torch.inf
        try:
            drawn = self._draw(logits, plan)
        finally:
            if banned is not None and kept is not None:
                logits[banned.rows, banned.token_ids] = kept
        token_ids: list[int]
        valid: list[int]
        # Tokens and flags come from the device in one transfer.
        token_ids, valid = torch.stack((drawn.token_ids, drawn.valid.long())).tolist()
        failures = {} if all(valid) else _failures(logits, valid, plan)
        return SamplerOutput(token_ids, _logprobs(untouched, drawn.token_ids, plan), failures)

    def _sample_one_by_one(
        self, logits: Tensor, rows: list[RequestState], masks: TokenMasks | None
    ) -> SamplerOutput:
        """Sample each row in its own batch, so that an exception fails one request. Tokens do not
        depend on the batch, so the other rows draw the same as together."""
        output = SamplerOutput([], [])
        for row, request in enumerate(rows):
            try:
                one = self._sample_masked(logits[row : row + 1], [request], masks)
            except Exception as error:
                logger.exception("Sampling failed for request %s", request.request_id)
                failure = RequestFailure.from_error(error)
                one = SamplerOutput([0], [None], {request.request_id: failure})
            output.token_ids += one.token_ids
            output.logprobs += one.logprobs
            output.failures.update(one.failures)
        return output

    def _plan_for(self, rows: list[RequestState]) -> SamplingPlan:
        # Requests compare by identity, so this is one pass in C.
        if self._plan is None or self._plan.requests != rows:
            self._plan = make_plan(rows, self._vocab_size, self._device, self.max_group_rows)
        return self._plan

    def _draw(self, logits: Tensor, plan: SamplingPlan) -> Drawn:
        if len(plan.groups) == 1:
            return self._draw_group(logits, plan.groups[0])
        num_rows = len(plan.requests)
        token_ids = torch.empty(num_rows, dtype=torch.int64, device=logits.device)
        valid = torch.empty(num_rows, dtype=torch.bool, device=logits.device)
        for group in plan.groups:
            drawn = self._draw_group(logits, group)
            token_ids[group.index] = drawn.token_ids
            valid[group.index] = drawn.valid
        return Drawn(token_ids, valid)

    def _draw_group(self, logits: Tensor, group: RowGroup) -> Drawn:
        logits = group.take(logits)  # [r, V]
        if group.random is None and not group.edited:
            return draw_greedy(logits)
        weights = self._scratch(len(group.rows))  # [r, W]
        work = weights[:, : self._vocab_size]
        work.copy_(logits)
        if group.bias is not None:
            at = group.bias.at
            work[at.rows, at.token_ids] += group.bias.values
        if group.has_penalties:
            self._penalties.apply(work, group.requests)
        for bans in group.bans:
            bans.apply(work)
        if group.random is None:
            return draw_greedy(work)
        _to_weights(work, group.random)
        u = torch.from_numpy(_uniforms_for(group.requests, group.random)).to(logits.device)
        cut = group.random.truncation
        if cut is None:
            return draw_weighted(weights, u)
        return draw_truncated(weights, u, cut.top_k, cut.top_p)

    def _scratch(self, num_rows: int) -> Tensor:
        if self._weights.shape[0] < num_rows:
            self._weights = torch.zeros(num_rows, self._weights.shape[1], device=self._device)
        return self._weights[:num_rows]


class _Bans:
    """The (row, token) places that must not be sampled in this step. Rebuilt only when the set of
    rows below their min_tokens changes."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._active: list[BannedTokens] = []
        self._entries: Entries | None = None

    def active(self, banned: list[BannedTokens]) -> Entries | None:
        active = [ban for ban in banned if ban.active]
        if active == self._active:
            return self._entries
        self._active = active
        self._entries = None
        if active:
            rows = [ban.row for ban in active for _ in ban.token_ids]
            token_ids = [token_id for ban in active for token_id in ban.token_ids]
            self._entries = entries(rows, token_ids, self._device)
        return self._entries


def _to_weights(work: Tensor, random: RandomDraw) -> None:
    """Turn logits [r, V] float32 in place into probabilities, up to a factor that makes each row's
    highest exactly 1."""
    if random.temperature is not None:
        work.div_(random.temperature)
    work.sub_(work.amax(-1, keepdim=True)).exp_()
    if random.min_p is not None:
        work.mul_(at_least(work, random.min_p))


def _uniforms_for(requests: list[RequestState], random: RandomDraw) -> Doubles:
    """One number per row. The position is that in the whole sequence, so that an output that is
    continued elsewhere draws the same numbers."""
    positions = np.fromiter(
        (len(request.token_ids) for request in requests), dtype=np.uint64, count=len(requests)
    )
    return uniforms(random.starts, positions)


def _failures(logits: Tensor, valid: list[int], plan: SamplingPlan) -> dict[str, RequestFailure]:
    """Why nothing could be sampled from the rows that are not valid. The model's logits [R, V] show
    whether the model or the parameters are the cause."""
    failures = {}
    for row, (request, ok) in enumerate(zip(plan.requests, valid, strict=True)):
        if ok:
            continue
        highest = logits[row].amax()  # NaN if any logit is
        if request.params.grammar is not None and bool(highest == -torch.inf):
            failure = _NO_GRAMMAR_TOKEN
        elif not bool(highest.isfinite()):
            failure = _NO_LOGITS
            logger.error("Request %s: %s", request.request_id, failure.message)
        elif request.params.allowed_token_ids:
            failure = _NONE_ALLOWED
        elif any(ban.active for ban in plan.banned if ban.row == row):
            failure = _ALL_BANNED
        else:
            failure = _NO_TOKEN
        failures[request.request_id] = failure
    return failures


def _logprobs(logits: Tensor, token_ids: Tensor, plan: SamplingPlan) -> list[TokenLogprobs | None]:
    found: list[TokenLogprobs | None] = [None] * len(plan.requests)
    for group in plan.logprobs:
        mine = logits.index_select(0, group.index)  # [r, V]
        entries = raw_logprobs(mine, token_ids[group.index], group.num_top, group.chosen)
        for row, entry in zip(group.rows, entries, strict=True):
            found[row] = entry
    return found
