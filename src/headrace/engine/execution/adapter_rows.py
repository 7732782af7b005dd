"""Which rows of a step have which adapter."""

from collections.abc import Sequence

from headrace.engine.request_state import RequestState
from headrace.models.adapters.adapter_set import AdapterSet
from headrace.models.ops.base import AdapterRows
from headrace.scheduler.output import ScheduledRequest


def order_by_adapter(
    entries: Sequence[ScheduledRequest], states: Sequence[RequestState]
) -> list[int]:
    """Places of the entries, such that those with one adapter lie together; decodes come first."""
    return sorted(
        range(len(entries)),
        key=lambda place: (
            entries[place].num_tokens != 1 or not entries[place].needs_sample,
            states[place].adapter_id,
        ),
    )


def rows_of_adapters(
    entries: Sequence[ScheduledRequest], states: Sequence[RequestState], adapters: AdapterSet
) -> list[AdapterRows]:
    """The rows that have adapters; neighbours with the same one as one range."""
    found: list[AdapterRows] = []
    start = 0
    for entry, state in zip(entries, states, strict=True):
        end = start + entry.num_tokens
        if state.adapter_id:
            slot = adapters.slot_of(state.adapter_id)
            if found and found[-1].slot == slot and found[-1].end == start:
                found[-1] = found[-1]._replace(end=end)
            else:
                found.append(AdapterRows(slot, start, end))
        start = end
    return found
