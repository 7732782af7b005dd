"""Replicas of services, and what they print."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse

from headrace.control.api.context import Context, context_of
from headrace.control.api.log_stream import stream_log
from headrace.control.api.views import ReplicaView
from headrace.control.errors import NotFoundError
from headrace.control.manifests.revision import RevisionSpec
from headrace.control.operations.services import read_service
from headrace.control.resources import Replica, ReplicaState

router = APIRouter(tags=["replicas"])
ContextDep = Annotated[Context, Depends(context_of)]

_GONE = frozenset({ReplicaState.STOPPED, ReplicaState.FAILED})


@router.get("/services/{service}/replicas")
def list_replicas(service: str, context: ContextDep) -> list[ReplicaView]:
    """All replicas, those that are gone too."""
    read_service(context.store, service)
    with context.store.begin() as tx:
        specs = {
            revision.number: RevisionSpec.model_validate(revision.spec)
            for revision in tx.revisions(service)
        }
        replicas = tx.replicas(service=service)
    return [context.viewer.replica(one, specs[one.revision]) for one in replicas]


@router.get("/services/{service}/replicas/{replica_id}/log")
def read_log(
    service: str,
    replica_id: str,
    context: ContextDep,
    follow: bool = False,
    lines: int | None = None,
) -> StreamingResponse:
    """What a replica printed; with ``follow``, until it is gone."""
    _find(context, service, replica_id)

    def find_log() -> Path | None:
        path = _find(context, service, replica_id).log_path
        return None if path is None else Path(path)

    def is_over() -> bool:
        return _find(context, service, replica_id).state in _GONE

    return StreamingResponse(
        stream_log(find_log, num_lines=lines, is_over=is_over if follow else None),
        media_type="text/plain; charset=utf-8",
    )


def _find(context: Context, service: str, replica_id: str) -> Replica:
    with context.store.begin() as tx:
        replica = tx.replica(replica_id)
    if replica is None or replica.service != service:
        raise NotFoundError(f"Service {service} has no replica {replica_id}.")
    return replica
