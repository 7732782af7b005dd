"""One step while it is being decided."""

from dataclasses import dataclass, field

from headrace.core.generation.request import Request
from headrace.kvcache.block_hash import BlockHash
from headrace.kvcache.block_table import BlockTable
from headrace.scheduler.output import AdmittedRequest, ScheduledRequest


@dataclass(slots=True)
class StepPlan:
    """Entries are added in the order in which requests get the token budget."""

    budget: int
    """Tokens that may still be scheduled."""
    entries: dict[Request, ScheduledRequest] = field(default_factory=dict)
    admitted: list[AdmittedRequest] = field(default_factory=list)
    completed_blocks: set[BlockHash] = field(default_factory=set)
    """Blocks that this step completes, so that the next one can share them."""

    def add(
        self,
        request: Request,
        table: BlockTable,
        start: int,
        num_tokens: int,
        *,
        needs_sample: bool,
    ) -> ScheduledRequest:
        """Add the computation of positions [start, start + num_tokens), with the blocks that the
        runner does not have yet. Its ``new_token_ids`` are still empty."""
        entry = ScheduledRequest(
            request_id=request.request_id,
            start=start,
            num_tokens=num_tokens,
            new_block_ids=table.block_ids[table.num_sent_blocks :],
            new_token_ids=[],
            needs_sample=needs_sample,
        )
        table.num_sent_blocks = len(table.block_ids)
        self.budget -= num_tokens
        self.entries[request] = entry
        return entry

    def drop(self, request: Request, table: BlockTable | None) -> None:
        """Remove the entry of a request, if it has one. ``table``: of a request that still holds
        its blocks; they are sent with its next entry."""
        entry = self.entries.pop(request, None)
        if entry is None:
            return
        self.budget += entry.num_tokens
        if table is not None:
            table.num_sent_blocks -= len(entry.new_block_ids)

    def in_order(self) -> list[ScheduledRequest]:
        """The entries, decodes first."""
        entries = self.entries.values()
        decodes = [entry for entry in entries if entry.num_tokens == 1 and entry.needs_sample]
        if len(decodes) == len(entries):
            return decodes
        return decodes + [
            entry for entry in entries if entry.num_tokens != 1 or not entry.needs_sample
        ]
