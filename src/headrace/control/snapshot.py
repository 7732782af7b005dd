"""The store's contents at one moment, and the parsed specs of its revisions."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from headrace.control.log_on_change import ChangeLogger
from headrace.control.manifests.parsing.manifest_model import read_stored
from headrace.control.manifests.revision import RevisionSpec
from headrace.control.resources import (
    Gateway,
    Replica,
    Revision,
    RevisionKey,
    Service,
    ServiceKey,
)
from headrace.control.store.store import Store
from headrace.core.errors import HeadraceError

logger = logging.getLogger("headrace.control")


@dataclass(frozen=True)
class Snapshot:
    """The store at one moment, without terminated revisions and gone replicas."""

    services: tuple[Service, ...]
    revisions: tuple[Revision, ...]
    replicas: tuple[Replica, ...]
    gateways: tuple[Gateway, ...]
    keys: tuple[ServiceKey, ...]

    def replicas_of(self, key: RevisionKey) -> list[Replica]:
        """The replicas of one revision, oldest first."""
        return list(self._replicas_by_revision.get(key, ()))

    @cached_property
    def _replicas_by_revision(self) -> Mapping[RevisionKey, list[Replica]]:
        return _by_revision(self.replicas)


def load_snapshot(store: Store) -> Snapshot:
    """Load in one read transaction. Raises StoreError if the database is unavailable."""
    with store.read() as queries:
        return Snapshot(
            services=tuple(queries.services()),
            revisions=tuple(queries.revisions(live_only=True)),
            replicas=tuple(queries.replicas(live_only=True)),
            gateways=tuple(queries.gateways()),
            keys=tuple(queries.service_keys()),
        )


class SpecCache:
    """Parsed specs by revision. Specs are immutable, so each is parsed once."""

    def __init__(self) -> None:
        self._specs: dict[RevisionKey, RevisionSpec] = {}
        self._log = ChangeLogger(logger)

    def of(self, revision: Revision) -> RevisionSpec | None:
        """None, with an error in the log, if this version of Headrace cannot read the spec."""
        key = revision.key
        spec = self._specs.get(key)
        if spec is None:
            try:
                spec = read_stored(RevisionSpec, revision.spec)
            except HeadraceError as error:
                self._log.failed(f"revision {key}", str(error))
                return None
            self._specs[key] = spec
        return spec

    def retain_only(self, keys: set[RevisionKey]) -> None:
        """Drop all other specs: a deleted service may be recreated under the same name."""
        for key in set(self._specs) - keys:
            del self._specs[key]


def _by_revision(replicas: Iterable[Replica]) -> Mapping[RevisionKey, list[Replica]]:
    grouped: dict[RevisionKey, list[Replica]] = defaultdict(list)
    for replica in replicas:
        grouped[replica.revision_key].append(replica)
    return grouped
