"""One step while it is being decided. Knows no queue and no blocks."""

from dataclasses import dataclass, field

from headrace.kvcache.block_hash import BlockHash
from headrace.scheduler.output import ScheduledRequest


@dataclass(slots=True)
class StepPlan:
    """What is left of the token budget, and who got the rest."""

    budget: int
    """Tokens that may still be scheduled."""
    decodes: list[ScheduledRequest] = field(default_factory=list)
    """One token each, from which the next is drawn."""
    chunks: list[ScheduledRequest] = field(default_factory=list)
    """All others."""
    in_flight: set[BlockHash] = field(default_factory=set)
    """Blocks that this step completes, so that the next one can share them."""

    def add(self, entry: ScheduledRequest) -> None:
        self.budget -= entry.num_tokens
        is_decode = entry.num_tokens == 1 and entry.samples
        (self.decodes if is_decode else self.chunks).append(entry)
