"""Revisions of services."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.concurrency import run_in_threadpool

from headrace.control.api.context import Context, ContextDep
from headrace.control.api.responses import RevisionView, TerminatedView
from headrace.control.api.routes.bodies import MANIFEST_OPENAPI, MAX_INTEGER, Limit, Manifest
from headrace.control.operations import revisions as operations
from headrace.control.operations.finding import find_revision, find_service

router = APIRouter(tags=["revisions"])
Number = Annotated[int, Path(ge=1, le=MAX_INTEGER, description="The revision's number.")]


@router.get("/services/{service}/revisions")
def list_revisions(
    service: str,
    context: ContextDep,
    limit: Limit = 100,
    before: Annotated[
        int | None, Query(ge=1, le=MAX_INTEGER, description="Only revisions with lower numbers.")
    ] = None,
) -> list[RevisionView]:
    """The newest revisions, terminated ones included, by number."""
    with context.store.read() as queries:
        find_service(queries, service)
        revisions = queries.revisions(service, limit=limit, before=before)
        replicas = operations.status_replicas(queries, service, revisions)
    return [context.responses.revision(one, replicas.get(one.number, [])) for one in revisions]


@router.post("/services/{service}/revisions", status_code=201, openapi_extra=MANIFEST_OPENAPI)
async def create_revision(service: str, manifest: Manifest, context: ContextDep) -> RevisionView:
    """Create a revision from a manifest."""
    revision = await run_in_threadpool(
        operations.create_revision,
        context.store,
        service,
        manifest.text,
        manifest.file,
        context.now(),
        folder=manifest.folder,
    )
    context.wake()
    return await run_in_threadpool(_view, context, service, revision.number)


@router.get("/services/{service}/revisions/{number}")
def read_revision(service: str, number: Number, context: ContextDep) -> RevisionView:
    """One revision and its replicas."""
    return _view(context, service, number)


@router.post("/services/{service}/revisions/{number}/terminate")
def terminate_revision(service: str, number: Number, context: ContextDep) -> TerminatedView:
    """Terminate a revision permanently, after its open requests have finished."""
    terminated = operations.terminate_revision(context.store, service, number, context.now())
    context.wake()
    return TerminatedView(
        revision=_view(context, service, number),
        gateway=context.responses.gateway(service, terminated.gateway),
        note=terminated.note,
    )


def _view(context: Context, service: str, number: int) -> RevisionView:
    with context.store.read() as queries:
        revision = find_revision(queries, service, number)
        replicas = operations.status_replicas(queries, service, [revision])
    return context.responses.revision(revision, replicas.get(number, []))
