"""Removes rows of the past, a small batch at a time, so that no other writer has to wait for long.

Knows the store; what goes is decided by `policy.py`.
"""

from collections.abc import Iterator
from datetime import datetime

from headrace.control.retention.policy import Keep, too_many
from headrace.control.store.store import Store

_MAX_NUM_REPLICAS = 50
_MAX_NUM_EVENTS = 500
"""In one transaction: a few milliseconds."""


def forget_replicas(store: Store, now: datetime, keep: Keep) -> Iterator[list[str]]:
    """Batch after batch: the ids of those that were removed, whose folders can go."""
    with store.read() as reading:
        num_gone = reading.history.num_gone()
    for key, number in num_gone.items():
        # What goes meanwhile makes more of them, and not less: nothing is removed too soon.
        num_left = number
        while num_left > keep.num_always:
            with store.read() as reading:
                oldest = reading.history.oldest_gone(key, _MAX_NUM_REPLICAS)
            ids = [past.replica_id for past in too_many(oldest, num_left, now, keep)]
            if not ids:
                break
            with store.begin() as tx:
                tx.remove_replicas(ids)
            num_left -= len(ids)
            yield ids


def forget_events(store: Store, now: datetime, keep: Keep) -> Iterator[int]:
    """Batch after batch: how many were removed."""
    with store.read() as reading:
        num_events = reading.history.num_events()
    for service, number in num_events.items():
        num_left = number
        while num_left > keep.num_always:
            with store.read() as reading:
                oldest = reading.history.oldest_events(service, _MAX_NUM_EVENTS)
            ids = [past.event_id for past in too_many(oldest, num_left, now, keep)]
            if not ids:
                break
            with store.begin() as tx:
                tx.remove_events(ids)
            num_left -= len(ids)
            yield len(ids)
