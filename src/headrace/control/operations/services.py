"""Services: made, found, and removed when nothing of them runs any more."""

from datetime import datetime

from headrace.control.errors import ConflictError
from headrace.control.operations.finding import find_service
from headrace.control.operations.names import check_service_name
from headrace.control.resources import Event, RevisionPhase, Service
from headrace.control.store.store import Store


def create_service(store: Store, name: str, now: datetime) -> Service:
    check_service_name(name)
    service = Service(name, now)
    with store.begin() as tx:
        tx.add_service(service)
        tx.add_event(_event(name, "created", "Asked for.", now))
    return service


def list_services(store: Store) -> list[Service]:
    """By name."""
    with store.read() as queries:
        return queries.services()


def read_service(store: Store, name: str) -> Service:
    with store.read() as queries:
        return find_service(queries, name)


def delete_service(store: Store, name: str, now: datetime) -> list[str]:
    """With its gateway, its keys and what is known of its revisions; its events stay.

    The ids of its replicas, which are gone and whose folders are nobody's any more.
    """
    with store.begin() as tx:
        find_service(tx, name)
        left = tx.revisions(name, live_only=True)
        for revision in left:
            if revision.phase is RevisionPhase.ACTIVE:
                raise ConflictError(
                    f"Revision {revision.number} of service '{name}' still runs. Terminate it "
                    f"first: headrace revision terminate --service {name} -n {revision.number}"
                )
        if left:
            raise ConflictError(
                f"Revision {left[0].number} of service '{name}' is still being terminated; try "
                "again when it is."
            )
        replica_ids = tx.retention.replica_ids(name)
        tx.remove_service(name)
        tx.add_event(_event(name, "deleted", "Asked for.", now))
    return replica_ids


def _event(name: str, what: str, why: str, now: datetime) -> Event:
    return Event(now, f"service {name}", what, why, service=name)
