"""Groups the rows of a batch by the operations that sample them.

A plan is valid while the batch has the same requests in the same order, so that a steady decode
batch builds no tensor twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine.request_state import RequestState
from headrace.engine.sampling.draw import padded_width
from headrace.engine.sampling.random_key import UInt64s, stream_starts
from headrace.engine.sampling.token_bans import TokenBans, bans_of

MIN_TEMPERATURE = 1e-5
"""Lower temperatures are raised to this, which is greedy but for ties; keeps quotients finite."""


@dataclass(frozen=True, slots=True)
class Entries:
    """Single places in a matrix of logits."""

    rows: Tensor
    token_ids: Tensor


@dataclass(frozen=True, slots=True)
class Bias:
    """Values to add to single logits of a group's matrix."""

    at: Entries
    values: Tensor


@dataclass(frozen=True, slots=True)
class Truncation:
    """Where to cut each row; see draw.draw_truncated."""

    top_k: Tensor
    top_p: Tensor


@dataclass(frozen=True, slots=True)
class RandomDraw:
    """Parameters of rows that are not greedy; None for one that no row of the group sets."""

    starts: UInt64s
    """Each row's random stream."""
    temperature: Tensor | None
    """[r, 1] float32."""
    min_p: Tensor | None
    """[r, 1] float32."""
    truncation: Truncation | None


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Rows sampled together, few enough that their weights stay in cache."""

    rows: list[int]
    """Places in the batch, ascending."""
    requests: list[RequestState]
    index: Tensor
    """``rows`` on the device."""
    span: slice | None
    """The rows, if they are consecutive: then a view of the logits suffices."""
    has_penalties: bool
    bias: Bias | None
    bans: list[TokenBans]
    random: RandomDraw | None
    """None for greedy rows."""

    @property
    def edited(self) -> bool:
        return self.has_penalties or self.bias is not None or bool(self.bans)

    def take(self, batch: Tensor) -> Tensor:
        """These rows of a tensor of the whole batch, as a view if they are consecutive."""
        return batch[self.span] if self.span is not None else batch.index_select(0, self.index)


@dataclass(frozen=True, slots=True)
class LogprobGroup:
    """Rows with requested log-probabilities."""

    rows: list[int]
    index: Tensor
    num_top: list[int]
    chosen: dict[int, tuple[int, ...]]
    """By position in ``rows``: tokens to report in place of the most likely ones."""


@dataclass(frozen=True, slots=True)
class BannedTokens:
    """Tokens that are banned for one row until its request has ``min_tokens`` output tokens."""

    row: int
    request: RequestState
    token_ids: list[int]

    @property
    def active(self) -> bool:
        return self.request.num_output_tokens < self.request.params.min_tokens


@dataclass(frozen=True, slots=True)
class SamplingPlan:
    """How to sample one token for each of these requests, in this order."""

    requests: list[RequestState]
    groups: list[RowGroup]
    logprobs: list[LogprobGroup]
    banned: list[BannedTokens]


def make_plan(
    requests: Sequence[RequestState], vocab_size: int, device: torch.device, max_group_rows: int
) -> SamplingPlan:
    """Group the rows by cost: greedy rows need no exponential, rows without top_k and top_p no
    candidates, rows without edits no copy in float32."""
    kinds: dict[_Kind, list[int]] = {}
    for row, request in enumerate(requests):
        kinds.setdefault(_kind_of(request.params), []).append(row)
    groups = []
    for kind, rows in kinds.items():
        # Greedy rows without edits need no scratch memory, so their number is not limited.
        step = len(rows) if kind.greedy and not kind.edited else max_group_rows
        for first in range(0, len(rows), step):
            part = rows[first : first + step]
            groups.append(_make_group(kind, part, requests, vocab_size, device))
    return SamplingPlan(
        requests=list(requests),
        groups=groups,
        logprobs=_logprob_groups(requests, vocab_size, device, max_group_rows),
        banned=_banned_tokens(requests, vocab_size),
    )


@dataclass(frozen=True, slots=True)
class _Kind:
    """The properties that decide which operations sample a row."""

    greedy: bool
    edited: bool
    truncated: bool


def _kind_of(params: SamplingParams) -> _Kind:
    greedy = params.is_greedy
    return _Kind(
        greedy=greedy,
        edited=params.has_penalties or bool(params.logit_bias) or params.has_token_bans,
        truncated=not greedy and (params.top_k > 0 or params.top_p < 1.0),
    )


def _make_group(
    kind: _Kind,
    rows: list[int],
    requests: Sequence[RequestState],
    vocab_size: int,
    device: torch.device,
) -> RowGroup:
    mine = [requests[row] for row in rows]
    params = [request.params for request in mine]
    consecutive = rows[-1] - rows[0] + 1 == len(rows)
    return RowGroup(
        rows=rows,
        requests=mine,
        index=torch.tensor(rows, device=device),
        span=slice(rows[0], rows[-1] + 1) if consecutive else None,
        has_penalties=any(each.has_penalties for each in params),
        bias=_bias(params, vocab_size, device) if kind.edited else None,
        bans=bans_of(mine, vocab_size, device) if kind.edited else [],
        random=None if kind.greedy else _random_draw(kind, mine, vocab_size, device),
    )


def _random_draw(
    kind: _Kind, requests: list[RequestState], vocab_size: int, device: torch.device
) -> RandomDraw:
    params = [request.params for request in requests]
    return RandomDraw(
        starts=stream_starts(
            [request.seed for request in requests], [request.choice for request in requests]
        ),
        temperature=_column(
            [max(each.temperature, MIN_TEMPERATURE) for each in params], 1.0, device
        ),
        min_p=_column([each.min_p for each in params], 0.0, device),
        truncation=_truncation(params, vocab_size, device) if kind.truncated else None,
    )


def _column(values: list[float], neutral: float, device: torch.device) -> Tensor | None:
    if all(value == neutral for value in values):
        return None
    return torch.tensor(values, dtype=torch.float32, device=device)[:, None]


def _truncation(params: list[SamplingParams], vocab_size: int, device: torch.device) -> Truncation:
    no_limit = padded_width(vocab_size)
    top_k = [each.top_k if 0 < each.top_k < vocab_size else no_limit for each in params]
    return Truncation(
        top_k=torch.tensor(top_k, dtype=torch.int64, device=device),
        top_p=torch.tensor([each.top_p for each in params], dtype=torch.float64, device=device),
    )


def _bias(params: list[SamplingParams], vocab_size: int, device: torch.device) -> Bias | None:
    rows: list[int] = []
    token_ids: list[int] = []
    values: list[float] = []
    for row, each in enumerate(params):
        for token_id, value in each.logit_bias.items():
            if token_id < vocab_size:  # others can never be sampled
                rows.append(row)
                token_ids.append(token_id)
                values.append(value)
    if not rows:
        return None
    return Bias(
        at=entries(rows, token_ids, device),
        values=torch.tensor(values, dtype=torch.float32, device=device),
    )


def entries(rows: list[int], token_ids: list[int], device: torch.device) -> Entries:
    """Places (row, token id), pair by pair."""
    return Entries(torch.tensor(rows, device=device), torch.tensor(token_ids, device=device))


def _logprob_groups(
    requests: Sequence[RequestState], vocab_size: int, device: torch.device, max_group_rows: int
) -> list[LogprobGroup]:
    wanted = [
        (row, vocab_size if request.params.logprobs == -1 else request.params.logprobs)
        for row, request in enumerate(requests)
        if request.params.logprobs is not None
    ]
    groups = []
    for first in range(0, len(wanted), max_group_rows):
        part = wanted[first : first + max_group_rows]
        rows = [row for row, _ in part]
        index = torch.tensor(rows, device=device)
        chosen = {
            place: ids
            for place, row in enumerate(rows)
            if (ids := requests[row].params.logprob_token_ids)
        }
        num_top = [0 if place in chosen else num for place, (_, num) in enumerate(part)]
        groups.append(LogprobGroup(rows, index, num_top, chosen))
    return groups


def _banned_tokens(requests: Sequence[RequestState], vocab_size: int) -> list[BannedTokens]:
    banned = []
    for row, request in enumerate(requests):
        params = request.params
        if params.min_tokens == 0:
            continue
        ending = set(params.stop_token_ids)
        if not params.ignore_eos:
            ending |= request.eos_token_ids
        token_ids = sorted(token_id for token_id in ending if 0 <= token_id < vocab_size)
        if token_ids:
            banned.append(BannedTokens(row, request, token_ids))
    return banned
