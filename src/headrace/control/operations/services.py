"""Services: created, listed and deleted."""

from datetime import datetime

from headrace.control.errors import ConflictError
from headrace.control.operations import BY_API
from headrace.control.operations.finding import find_service
from headrace.control.operations.names import check_service_name
from headrace.control.resources import Event, EventReason, RevisionPhase, Service
from headrace.control.store.store import Store


def create_service(store: Store, name: str, now: datetime) -> Service:
    check_service_name(name)
    service = Service(name, now)
    with store.begin() as tx:
        tx.add_service(service)
        tx.add_event(_event(name, EventReason.CREATED, now))
    return service


def list_services(store: Store) -> list[Service]:
    """By name."""
    with store.read() as queries:
        return queries.services()


def read_service(store: Store, name: str) -> Service:
    with store.read() as queries:
        return find_service(queries, name)


def delete_service(store: Store, name: str, now: datetime) -> list[str]:
    """With its gateway, keys, revisions and replicas; its events stay.

    Returns the ids of its replicas, whose folders can be removed.
    """
    with store.begin() as tx:
        find_service(tx, name)
        left = tx.revisions(name, live_only=True)
        for revision in left:
            if revision.phase is RevisionPhase.ACTIVE:
                raise ConflictError(
                    f"Revision {revision.number} of service '{name}' is active. Terminate it "
                    f"first: headrace revision terminate --service {name} -n {revision.number}"
                )
        if left:
            raise ConflictError(
                f"Revision {left[0].number} of service '{name}' is still terminating. Try again "
                "later."
            )
        replica_ids = tx.retention.replica_ids(name)
        tx.remove_service(name)
        tx.add_event(_event(name, EventReason.DELETED, now))
    return replica_ids


def _event(name: str, what: EventReason, now: datetime) -> Event:
    return Event(now, f"service {name}", what, BY_API, service=name)
