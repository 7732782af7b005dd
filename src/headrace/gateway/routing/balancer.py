"""Which replica of a target gets a request: the least busy, unless another knows its prompt.

The replica that served the longest beginning of this prompt most likely still has its keys and
values cached; it is preferred while it is not much busier than the least busy one (SGLang's
cache-aware router, vLLM's production stack). Pure; knows neither how prefixes are remembered nor
why a replica may not be used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.gateway.routing.replica import Replica

AFFINITY_SLACK = 4
"""How many more requests the replica that knows the prompt may have under way than the least busy:
about as many as cost less in a shared batch than computing a long prompt again."""
AFFINITY_SLACK_SHARE = 0.5
"""Or this share of what the least busy one has, so that the bias does not fade under load."""


def pick(usable: Sequence[Replica], affine: Replica | None, turn: int) -> Replica:
    """One of ``usable``, of which there is at least one; ``turn`` decides between equals."""
    num_usable = len(usable)
    best = usable[turn % num_usable]
    fewest = best.num_outstanding
    for offset in range(1, num_usable):
        replica = usable[(turn + offset) % num_usable]
        if replica.num_outstanding < fewest:
            best = replica
            fewest = replica.num_outstanding
    if affine is None or affine is best:
        return best
    slack = max(AFFINITY_SLACK, fewest * AFFINITY_SLACK_SHARE)
    return affine if affine.num_outstanding - fewest <= slack else best
