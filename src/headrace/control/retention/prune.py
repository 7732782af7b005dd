"""Removes old rows in small transactions, so that other writers do not wait for long."""

from collections.abc import Iterator
from datetime import datetime

from headrace.control.retention.policy import RetentionRule, expired
from headrace.control.store.store import Store

_MAX_NUM_REPLICAS = 50
_MAX_NUM_EVENTS = 500
"""In one transaction: a few milliseconds."""


def prune_replicas(store: Store, now: datetime, keep: RetentionRule) -> Iterator[list[str]]:
    """In batches: the ids of the removed replicas, whose folders can be removed."""
    with store.read() as queries:
        num_gone = queries.retention.num_gone()
    for key, number in num_gone.items():
        # The number can only grow meanwhile, so nothing is removed too early.
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
    """In batches: how many were removed."""
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
