"""Recent crashes by revision."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from headrace.control.replicas.backoff import (
    Backoff,
    Crash,
    Crashes,
    add_crash,
    is_loop,
    is_over,
)
from headrace.control.resources import Replica, ReplicaState, RevisionKey


class CrashHistory:
    def __init__(self, backoff: Backoff) -> None:
        self.backoff = backoff
        self._crashes: dict[RevisionKey, Crashes] = {}
        self._totals: Counter[RevisionKey] = Counter()

    def of(self, key: RevisionKey) -> Crashes | None:
        return self._crashes.get(key)

    def is_loop(self, key: RevisionKey) -> bool:
        """Whether the revision is in a crash loop."""
        return is_loop(self._crashes.get(key), self.backoff)

    def num_total(self, key: RevisionKey) -> int:
        """Crashes of its replicas that were added, without those that were recalled."""
        return self._totals[key]

    def add(self, key: RevisionKey, crash: Crash) -> None:
        self._totals[key] += 1
        self._add(key, crash)

    def recall(self, replicas: Iterable[Replica], now: datetime) -> None:
        """Restore the history after a restart, from the failures in the store.

        The store does not have the time at which each became ready, so each counts as if it never
        was.
        """
        for replica in sorted(replicas, key=lambda one: one.changed_at):
            age_s = (now - replica.changed_at).total_seconds()
            if replica.state is ReplicaState.FAILED and age_s < self.backoff.max_s:
                crash = Crash(replica.created_at, None, replica.changed_at, replica.cause or "")
                self._add(replica.revision_key, crash)

    def settle(self, key: RevisionKey, replicas: Iterable[Replica], now: datetime) -> None:
        """Reset the crashes of a revision if one of its replicas has run well."""
        crashes = self._crashes.get(key)
        if crashes is not None and any(
            is_over(crashes, replica.created_at, replica.changed_at, now, self.backoff)
            for replica in replicas
            if replica.state is ReplicaState.READY
        ):
            del self._crashes[key]

    def retain_only(self, keys: set[RevisionKey]) -> None:
        for key in set(self._crashes) - keys:
            del self._crashes[key]
        for key in set(self._totals) - keys:
            del self._totals[key]

    def _add(self, key: RevisionKey, crash: Crash) -> None:
        self._crashes[key] = add_crash(self._crashes.get(key), crash, self.backoff)
