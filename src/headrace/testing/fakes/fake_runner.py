"""A runner without a model: its next token is a function of the request's full history.

It needs no torch. It has a paged cache of its own and reads it through the block tables, which
reveals scheduling errors (a block given to two requests, a prefix shared too early).
"""

import struct
from array import array
from collections.abc import Callable, Sequence
from zlib import crc32

from headrace.core.generation.outputs import RequestFailure, TokenLogprobs
from headrace.engine.grammar.token_masks import TokenMasks
from headrace.scheduler.output import (
    AdmittedRequest,
    EntryResult,
    FailedEntry,
    PooledVector,
    RunnerOutput,
    SampledTokens,
    ScheduledRequest,
    SchedulerOutput,
)

NextToken = Callable[[Sequence[int]], int]
FAILURE = RequestFailure("The fake cannot go on from this token.")


class FakeRunner:
    """A ``Runner`` for tests of everything around the model.

    vocab_size: drawn tokens are in [0, vocab_size).
    next_token: draws from the history (prompt and output); by default a checksum of it, so that
    different histories go on differently and the same one always alike.
    failing_token_id: a request that has this token fails where its next one would be drawn.
    vector_size: of the vectors that requests with ``pooling`` get.
    window: positions that a token reads, its own among them; None for all.
    Raises AssertionError when a step's blocks do not hold what the request's history says.
    """

    def __init__(
        self,
        *,
        block_size: int,
        vocab_size: int,
        next_token: NextToken | None = None,
        failing_token_id: int | None = None,
        vector_size: int = 0,
        window: int | None = None,
    ) -> None:
        self._block_size = block_size
        self._window = window
        self._vocab_size = vocab_size
        self._next_token = next_token or self._checksum
        self._failing_token_id = failing_token_id
        self._vector_size = vector_size
        self._cache: dict[int, list[int]] = {}
        """By block id, the value of each position: a number that depends on all tokens so far."""
        self._known: dict[str, _KnownRequest] = {}
        self._scored: dict[str, int] = {}
        """By request id: prompt tokens, from the second one on, that have log-probabilities."""
        self.num_steps = 0
        self.num_tokens = 0
        """Tokens computed since the start, those computed again included."""

    def execute(
        self, step: SchedulerOutput, masks: Callable[[], TokenMasks] | None = None
    ) -> RunnerOutput:
        for request_id in step.released:
            self._known.pop(request_id, None)
            self._scored.pop(request_id, None)
        for request in step.admitted:
            if request.request_id in self._known:
                raise AssertionError(f"{request.request_id!r} is sent again, but was not released")
            self._known[request.request_id] = _KnownRequest(request)
            if request.num_prompt_logprobs is not None:
                self._scored[request.request_id] = request.num_prompt_logprobs
        for (
            entry
        ) in step.scheduled:  # all reads before any write: a step does not share its own results
            self._check(entry)
        written: set[int] = set()
        results: list[EntryResult | None] = []
        prompt_logprobs: dict[str, list[TokenLogprobs]] = {}
        token_masks = None if masks is None else masks()
        for entry in step.scheduled:
            self._write(entry, written)
            results.append(self._draw(entry, token_masks) if entry.needs_sample else None)
            if entry.request_id in self._scored and (scored := self._score(entry)):
                prompt_logprobs[entry.request_id] = scored
        self.num_steps += 1
        self.num_tokens += step.num_tokens
        return RunnerOutput(results, prompt_logprobs)

    def reference(self, prompt_token_ids: Sequence[int], num_tokens: int) -> list[int]:
        """The output of a request that stops only for its length, in any
        schedule."""
        token_ids = list(prompt_token_ids)
        for _ in range(num_tokens):
            token_ids.append(self._next_token(token_ids))
        return token_ids[len(prompt_token_ids) :]

    def _draw(self, entry: ScheduledRequest, masks: TokenMasks | None) -> EntryResult:
        known = self._known[entry.request_id]
        if known.pooling is not None:
            return PooledVector(self._vector(known.token_ids, known.pooling.dimensions))
        if self._failing_token_id in known.token_ids:
            return FailedEntry(FAILURE)
        token_id = self._next_token(known.token_ids)
        if masks is not None and entry.request_id in masks.request_ids:
            token_id = self._next_allowed(masks, entry.request_id, token_id)
        num_top = known.params.logprobs
        logprobs = None if num_top is None else [self._logprobs(token_id, num_top)]
        return SampledTokens([token_id], logprobs)

    def _score(self, entry: ScheduledRequest) -> list[TokenLogprobs]:
        """For the prompt tokens after the entry's positions, invented as those of the output are.

        A step must not leave out the logits that the next one of them needs.
        """
        known, first = self._known[entry.request_id], self._scored[entry.request_id]
        if entry.start > first:
            raise AssertionError(f"{entry.request_id!r} skips the logits of position {first}")
        end = min(entry.start + entry.num_tokens, known.num_prompt_tokens - 1)
        if end == known.num_prompt_tokens - 1:
            del self._scored[entry.request_id]
        else:
            self._scored[entry.request_id] = max(first, end)
        num_top = known.params.prompt_logprobs or 0
        return [
            self._logprobs(token_id, num_top) for token_id in known.token_ids[first + 1 : end + 1]
        ]

    def _next_allowed(self, masks: TokenMasks, request_id: str, token_id: int) -> int:
        """The first token that the mask allows, from ``token_id`` on and then from 0 on."""
        row = masks.request_ids.index(request_id)
        for offset in range(self._vocab_size):
            candidate = (token_id + offset) % self._vocab_size
            if masks.allows(row, candidate):
                return candidate
        raise AssertionError(f"the mask of {request_id!r} allows nothing")

    def _vector(self, token_ids: Sequence[int], dimensions: int | None) -> bytes:
        """How often each token id occurs, modulo the vector's size."""
        counts = [0.0] * self._vector_size
        for token_id in token_ids:
            counts[token_id % self._vector_size] += 1
        return struct.pack(f"<{len(counts[:dimensions])}f", *counts[:dimensions])

    def _check(self, entry: ScheduledRequest) -> None:
        """Record new blocks and tokens, and check that the cache holds all positions before the
        entry's that its first one reads."""
        request_id, start, end = entry.request_id, entry.start, entry.start + entry.num_tokens
        known = self._known[request_id]
        known.block_ids += entry.new_block_ids
        known.extend(entry.new_token_ids)
        size = self._block_size
        if not 0 <= start < end <= min(len(known.token_ids), len(known.block_ids) * size):
            raise AssertionError(f"{request_id!r} cannot compute [{start}, {end})")
        if entry.needs_sample != (end == len(known.token_ids)):
            raise AssertionError(f"{request_id!r} is sampled before its last token, or not there")
        lowest = 0 if self._window is None else max(0, start + 1 - self._window)
        for block_start in range(lowest // size * size, start, size):
            block_id = known.block_ids[block_start // size]
            first, last = max(block_start, lowest), min(block_start + size, start)
            cached = self._cache.get(block_id, [])[first - block_start : last - block_start]
            if cached != known.contents[first:last]:
                raise AssertionError(
                    f"block {block_id} does not hold positions [{first}, {last}) of "
                    f"{request_id!r}, which were to be computed before this step"
                )

    def _write(self, entry: ScheduledRequest, written: set[int]) -> None:
        start, end, size = entry.start, entry.start + entry.num_tokens, self._block_size
        known = self._known[entry.request_id]
        for index in range(start // size, -(-end // size)):
            block_id, first = known.block_ids[index], index * size
            if block_id in written:
                raise AssertionError(f"block {block_id} is written by two requests in one step")
            written.add(block_id)
            block = self._cache.setdefault(block_id, [0] * size)
            low, high = max(start, first), min(end, first + size)
            block[low - first : high - first] = known.contents[low:high]

    def _logprobs(self, token_id: int, num_top: int) -> TokenLogprobs:
        """Invented, but as many as requested, in order and with the token itself first."""
        num_top = self._vocab_size if num_top == -1 else min(num_top, self._vocab_size)
        top = tuple(((token_id + rank) % self._vocab_size, -1.0 - rank) for rank in range(num_top))
        return TokenLogprobs(token_id, -1.0, 1, top)

    def _checksum(self, token_ids: Sequence[int]) -> int:
        return crc32(array("I", token_ids).tobytes()) % self._vocab_size


class _KnownRequest:
    """The runner's state of a request between steps."""

    def __init__(self, request: AdmittedRequest) -> None:
        self.params = request.params
        self.num_prompt_tokens = len(request.prompt_token_ids)
        self.pooling = request.pooling
        self.block_ids: list[int] = []
        self.token_ids: list[int] = []
        self.contents: list[int] = []
        """Its cached values, by position."""
        self.extend([*request.prompt_token_ids, *request.output_token_ids])

    def extend(self, token_ids: Sequence[int]) -> None:
        self.token_ids += token_ids
        before = self.contents[-1] if self.contents else 0
        for token_id in token_ids:
            before = (before * 1_000_003 + token_id + 1) % (2**61 - 1)
            self.contents.append(before)
