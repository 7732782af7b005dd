"""Pools hidden states over the chunks of a prompt."""

from collections.abc import Iterable

from torch import Tensor

from headrace.core.generation.pooling import Pooling
from headrace.scheduler.output import ScheduledRequest


class Pooler:
    """Keeps, between the steps of one prompt, what its vector needs of earlier chunks."""

    def __init__(self, pooling: Pooling) -> None:
        self.pooling = pooling
        self._kept: dict[str, Tensor] = {}
        """By request id: the sum of hidden states so far (mean), or the first one (cls)."""

    def release(self, request_ids: Iterable[str]) -> None:
        for request_id in request_ids:
            self._kept.pop(request_id, None)

    def pool(self, hidden: Tensor, entries: list[ScheduledRequest]) -> list[Tensor | None]:
        """One row [H] float32 for each entry that ends its prompt, None for the others.

        hidden: [T, H] after the final norm, the entries' tokens one after another.
        """
        rows: list[Tensor | None] = []
        first = 0
        for entry in entries:
            chunk = hidden[first : first + entry.num_tokens].float()
            first += entry.num_tokens
            rows.append(self._add(entry, chunk))
        return rows

    def _add(self, entry: ScheduledRequest, chunk: Tensor) -> Tensor | None:
        if self.pooling == "last":
            return chunk[-1] if entry.needs_sample else None
        if self.pooling == "mean":
            kept = chunk.sum(dim=0)
            if entry.start:
                kept += self._kept[entry.request_id]
        else:
            kept = self._kept[entry.request_id] if entry.start else chunk[0].clone()
        if not entry.needs_sample:
            self._kept[entry.request_id] = kept
            return None
        return kept / (entry.start + entry.num_tokens) if self.pooling == "mean" else kept
