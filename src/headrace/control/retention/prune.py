"""Removes rows of the past, a small batch at a time, so that no other writer has to wait for long.

Knows the store; what goes is decided by `policy.py`.
"""

from collections.abc import Iterator
from datetime import datetime

from headrace.control.retention.policy import RetentionRule, expired
from headrace.control.store.store import Store

_MAX_NUM_REPLICAS = 50
_MAX_NUM_EVENTS = 500
"""In one transaction: a few milliseconds."""


def prune_replicas(store: Store, now: datetime, keep: RetentionRule) -> Iterator[list[str]]:
    """Batch after batch: the ids of those that were removed, whose folders can go."""
    with store.read() as queries:
        num_gone = queries.retention.num_gone()
    for key, number in num_gone.items():
        # What goes meanwhile makes more of them, and not less: nothing is removed too soon.
        num_left = number
        while num_left > keep.num_always:
            with store.read() as queries:
                oldest = queries.retention.oldest_gone(key, _MAX_NUM_REPLICAS)
            ids = [past.replica_id for past in expired(oldest, num_left, now, keep)]
            if not ids:
                break
            with store.begin() as tx:
                tx.remove_replicas(ids)
            num_left -= len(ids)
            yield ids


def prune_events(store: Store, now: datetime, keep: RetentionRule) -> Iterator[int]:
    """Batch after batch: how many were removed."""
    with store.read() as queries:
        num_events = queries.retention.num_events()
    for service, number in num_events.items():
        num_left = number
        while num_left > keep.num_always:
            with store.read() as queries:
                oldest = queries.retention.oldest_events(service, _MAX_NUM_EVENTS)
            ids = [past.event_id for past in expired(oldest, num_left, now, keep)]
            if not ids:
                break
            with store.begin() as tx:
                tx.remove_events(ids)
            num_left -= len(ids)
            yield len(ids)
