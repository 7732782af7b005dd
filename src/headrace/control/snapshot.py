"""What the store says, loaded at once, and the specs in it made usable.

Knows the store's queries and the revisions' format; judges nothing.
"""

import logging
from dataclasses import dataclass

from headrace.control.log_on_change import LogOnce
from headrace.control.manifests.parsing.manifest_model import read_stored
from headrace.control.manifests.revision import RevisionSpec
from headrace.control.resources import (
    Gateway,
    Replica,
    Revision,
    Service,
    ServiceKey,
)
from headrace.control.revision_key import RevisionKey
from headrace.control.store.store import Store
from headrace.core.errors import HeadraceError

logger = logging.getLogger("headrace.control")


@dataclass(frozen=True, slots=True)
class Facts:
    """The store at one moment. Of revisions and replicas, those that are not gone."""

    services: tuple[Service, ...]
    revisions: tuple[Revision, ...]
    replicas: tuple[Replica, ...]
    gateways: tuple[Gateway, ...]
    keys: tuple[ServiceKey, ...]

    def replicas_of(self, key: RevisionKey) -> list[Replica]:
        return [r for r in self.replicas if r.service == key.service and r.revision == key.number]


def load_facts(store: Store) -> Facts:
    """Reads only. Raises whatever the database does when it is away."""
    with store.read() as tx:
        return Facts(
            services=tuple(tx.services()),
            revisions=tuple(tx.revisions(live_only=True)),
            replicas=tuple(tx.replicas(live_only=True)),
            gateways=tuple(tx.gateways()),
            keys=tuple(tx.service_keys()),
        )


def key_of(revision: Revision) -> RevisionKey:
    return RevisionKey(revision.service, revision.number)


class Specs:
    """Specs of revisions, each read once."""

    def __init__(self) -> None:
        self._read: dict[RevisionKey, RevisionSpec] = {}
        self._log = LogOnce(logger)

    def of(self, revision: Revision) -> RevisionSpec | None:
        """None, and a line in the log, if this version of Headrace cannot read it."""
        key = key_of(revision)
        spec = self._read.get(key)
        if spec is None:
            try:
                spec = read_stored(RevisionSpec, revision.spec)
            except HeadraceError as error:
                self._log.failed(f"revision {key}", str(error))
                return None
            self._read[key] = spec
        return spec

    def forget_all_but(self, keys: set[RevisionKey]) -> None:
        """A service of the same name may come again, with other revisions."""
        for key in set(self._read) - keys:
            del self._read[key]
