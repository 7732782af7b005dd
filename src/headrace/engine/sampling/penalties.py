"""Presence, frequency and repetition penalties, from incrementally updated token counts."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headrace.engine.request_state import RequestState

FIRST_CAPACITY = 256


class Penalties:
    """Token counts of every request with penalties, until it is released."""

    def __init__(self, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._counts: dict[str, _TokenCounts] = {}

    def apply(self, logits: Tensor, requests: Sequence[RequestState]) -> None:
        """Change logits [R, V] float32 in place, one row per request, in vLLM's order: repetition
        (over prompt and output), then frequency, then presence (both over the output).

        Rows without penalties are not changed. Works on the (row, token) pairs that occur in the
        requests, not on whole rows.
        """
        rows = [row for row, request in enumerate(requests) if request.params.has_penalties]
        if not rows:
            return
        seen = [self._counts_of(requests[row]) for row in rows]
        num_seen = [counts.num_seen for counts in seen]
        params = [requests[row].params for row in rows]

        def spread(values: list[float]) -> Tensor:
            return self._to_device(np.repeat(np.array(values, dtype=np.float32), num_seen), logits)

        row = self._to_device(np.repeat(np.array(rows, dtype=np.int64), num_seen), logits)
        token = self._to_device(np.concatenate([counts.token_ids for counts in seen]), logits)
        times = self._to_device(np.concatenate([counts.output_counts for counts in seen]), logits)
        repetition = spread([each.repetition_penalty for each in params])
        frequency = spread([each.frequency_penalty for each in params])
        presence = spread([each.presence_penalty for each in params])

        values = logits[row, token]
        values = torch.where(values > 0, values / repetition, values * repetition)
        values -= frequency * times
        values -= presence * (times > 0)
        logits[row, token] = values

    def release(self, request_ids: Iterable[str]) -> None:
        for request_id in request_ids:
            self._counts.pop(request_id, None)

    def _counts_of(self, request: RequestState) -> "_TokenCounts":
        counts = self._counts.get(request.request_id)
        if counts is None:
            counts = _TokenCounts(request, self._vocab_size)
            self._counts[request.request_id] = counts
        counts.catch_up(request.token_ids)
        return counts

    @staticmethod
    def _to_device(array: NDArray[np.generic], like: Tensor) -> Tensor:
        return torch.from_numpy(array).to(like.device)


class _TokenCounts:
    """The distinct tokens of one request, and how often each is in the output."""

    def __init__(self, request: RequestState, vocab_size: int) -> None:
        self.num_seen = 0
        self._vocab_size = vocab_size
        self._num_counted = request.num_prompt_tokens
        self._places: dict[int, int] = {}
        self._token_ids = np.empty(FIRST_CAPACITY, dtype=np.int64)
        self._output_counts = np.empty(FIRST_CAPACITY, dtype=np.float32)
        if request.params.repetition_penalty != 1.0:
            for token_id in set(request.token_ids[: request.num_prompt_tokens]):
                self._see(token_id, 0)

    @property
    def token_ids(self) -> NDArray[np.int64]:
        return self._token_ids[: self.num_seen]

    @property
    def output_counts(self) -> NDArray[np.float32]:
        return self._output_counts[: self.num_seen]

    def catch_up(self, token_ids: list[int]) -> None:
        """Count the tokens that are new since the last call; token_ids is prompt plus output."""
        for index in range(self._num_counted, len(token_ids)):
            self._see(token_ids[index], 1)
        self._num_counted = len(token_ids)

    def _see(self, token_id: int, times: int) -> None:
        place = self._places.get(token_id)
        if place is not None:
            self._output_counts[place] += times
            return
        if not 0 <= token_id < self._vocab_size:
            return
        if self.num_seen == len(self._token_ids):
            self._token_ids = np.resize(self._token_ids, 2 * self.num_seen)
            self._output_counts = np.resize(self._output_counts, 2 * self.num_seen)
        self._places[token_id] = self.num_seen
        self._token_ids[self.num_seen] = token_id
        self._output_counts[self.num_seen] = times
        self.num_seen += 1
