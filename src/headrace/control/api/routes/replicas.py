"""Replicas of services, and their logs."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from headrace.control.api.context import Context, ContextDep
from headrace.control.api.responses import ReplicaView
from headrace.control.api.routes.bodies import MAX_INTEGER, Limit
from headrace.control.api.routes.logs import Follow, Lines, log_response
from headrace.control.errors import NotFoundError
from headrace.control.operations.finding import find_revision, find_service
from headrace.control.resources import Replica

router = APIRouter(tags=["replicas"])


@router.get("/services/{service}/replicas")
def list_replicas(
    service: str,
    context: ContextDep,
    revision: Annotated[
        int | None, Query(ge=1, le=MAX_INTEGER, description="Only those of this revision.")
    ] = None,
    limit: Limit = 100,
    before: Annotated[
        str | None, Query(description="Only replicas created before this one.")
    ] = None,
) -> list[ReplicaView]:
    """The newest replicas, gone ones included, oldest first."""
    if before is not None and _find(context, service, before) is None:
        raise _not_found(service, before)
    with context.store.read() as queries:
        find_service(queries, service)
        replicas = queries.replicas(service, revision, limit=limit, before=before)
        numbers = {replica.revision for replica in replicas}
        revisions = queries.revisions(service, numbers=numbers)
    return context.responses.replicas(replicas, revisions)


@router.get("/services/{service}/replicas/{replica_id}")
def read_replica(service: str, replica_id: str, context: ContextDep) -> ReplicaView:
    """One replica."""
    replica = _find(context, service, replica_id)
    if replica is None:
        raise _not_found(service, replica_id)
    with context.store.read() as queries:
        revision = find_revision(queries, service, replica.revision)
    return context.responses.replicas([replica], [revision])[0]


@router.get("/services/{service}/replicas/{replica_id}/log")
def read_replica_log(
    service: str,
    replica_id: str,
    context: ContextDep,
    follow: Follow = False,
    lines: Lines = None,
) -> StreamingResponse:
    """A replica's log; with ``follow``, until it has stopped."""
    if _find(context, service, replica_id) is None:
        raise _not_found(service, replica_id)

    def find_log() -> Path | None:
        replica = _find(context, service, replica_id)
        return None if replica is None or replica.log_path is None else Path(replica.log_path)

    def is_over() -> bool:
        replica = _find(context, service, replica_id)
        return replica is None or replica.is_gone

    return log_response(context, find_log, is_over, follow=follow, lines=lines)


def _find(context: Context, service: str, replica_id: str) -> Replica | None:
    with context.store.read() as queries:
        replica = queries.replica(replica_id)
    return replica if replica is not None and replica.service == service else None


def _not_found(service: str, replica_id: str) -> NotFoundError:
    return NotFoundError(
        f"Replica '{replica_id}' of service '{service}' not found. "
        f"List replicas: headrace revision read --service {service} -n NUMBER"
    )
