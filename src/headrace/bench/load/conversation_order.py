"""Which requests of a workload follow one another, and which stand alone. Knows nothing else."""

from collections.abc import Sequence

from headrace.bench.errors import OptionError
from headrace.bench.records import PlannedRequest


def conversations_of(workload: Sequence[PlannedRequest]) -> list[list[int]]:
    """Indices of each conversation's turns in order, by the place of its first turn.

    Raises OptionError where a turn follows one that comes later, or that another follows already.
    """
    conversations: list[list[int]] = []
    ends: dict[int, list[int]] = {}
    """Conversations by their last turn so far."""
    for index, planned in enumerate(workload):
        if planned.follows is None:
            conversation: list[int] = []
            conversations.append(conversation)
        else:
            found = ends.pop(planned.follows, None)
            if found is None:
                raise OptionError(
                    f"Request {index} of the workload cannot follow request {planned.follows}: "
                    "each turn follows one before it, and no two follow the same."
                )
            conversation = found
        conversation.append(index)
        ends[index] = conversation
    return conversations
