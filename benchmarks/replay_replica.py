"""A simulated model server: prefill first, then decoding, shared by all running requests.

A coarse model is sufficient: a replica is fast up to its capacity, and queues requests beyond it.
"""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReplicaModel:
    """The capacity of one replica."""

    prefill_tokens_per_s: float = 5000.0
    decode_tokens_per_s: float = 600.0
    """Of all its requests together."""
    stream_tokens_per_s: float = 30.0
    """Maximum of one request."""
    max_num_running: int = 32
    kv_cache_tokens: int = 40_000
    startup_s: float = 60.0


@dataclass(slots=True)
class SimulatedRequest:
    arrived_s: float
    num_context: int
    num_generated: int
    num_prefilled: float = 0.0
    num_decoded: float = 0.0
    began_s: float | None = None
    first_token_s: float | None = None

    @property
    def num_tokens(self) -> int:
        return self.num_context + self.num_generated


class SimulatedReplica:
    """Requests in order of arrival, up to its slots and its KV cache concurrently."""

    def __init__(self, model: ReplicaModel, ready_at_s: float) -> None:
        self.model = model
        self.ready_at_s = ready_at_s
        self.waiting: deque[SimulatedRequest] = deque()
        self.running: list[SimulatedRequest] = []
        self.is_draining = False
        self.busy_s = 0.0
        """Time in which it was busy."""
        self.num_finished_total = 0
        self._num_kv_tokens = 0

    @property
    def num_outstanding(self) -> int:
        return len(self.waiting) + len(self.running)

    @property
    def kv_cache_usage(self) -> float:
        return self._num_kv_tokens / self.model.kv_cache_tokens

    def step(self, now_s: float, step_s: float) -> list[SimulatedRequest]:
        """Work from ``now_s`` on for ``step_s``; returns requests that got their first token."""
        self._admit(now_s)
        if not self.running:
            return []
        self.busy_s += step_s
        begun, left_s = self._prefill(now_s + step_s, step_s)
        self._decode(left_s)
        return begun

    def _admit(self, now_s: float) -> None:
        while self.waiting and len(self.running) < self.model.max_num_running:
            request = self.waiting[0]
            fits = self._num_kv_tokens + request.num_tokens <= self.model.kv_cache_tokens
            if self.running and not fits:
                return
            self.waiting.popleft()
            request.began_s = now_s
            self._num_kv_tokens += request.num_tokens
            self.running.append(request)

    def _prefill(self, now_s: float, left_s: float) -> tuple[list[SimulatedRequest], float]:
        begun = []
        for request in self.running:
            missing = request.num_context - request.num_prefilled
            if missing <= 0:
                continue
            done = min(missing, left_s * self.model.prefill_tokens_per_s)
            request.num_prefilled += done
            left_s -= done / self.model.prefill_tokens_per_s
            if request.num_prefilled >= request.num_context:
                request.first_token_s = now_s
                begun.append(request)
            if left_s <= 0:
                break
        return begun, max(left_s, 0.0)

    def _decode(self, left_s: float) -> None:
        decoding = [r for r in self.running if r.first_token_s is not None]
        if not decoding:
            return
        each = min(self.model.decode_tokens_per_s / len(decoding), self.model.stream_tokens_per_s)
        for request in decoding:
            request.num_decoded += each * left_s
        for request in [r for r in decoding if r.num_decoded >= r.num_generated]:
            self.running.remove(request)
            self._num_kv_tokens -= request.num_tokens
            self.num_finished_total += 1
