"""Revisions of services."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool

from headrace.control.api.context import Context, context_of
from headrace.control.api.routes.bodies import MANIFEST_OPENAPI, Manifest
from headrace.control.api.views import RevisionView, TerminatedView
from headrace.control.operations import revisions as operations

router = APIRouter(tags=["revisions"])
ContextDep = Annotated[Context, Depends(context_of)]


@router.get("/services/{service}/revisions")
def list_revisions(service: str, context: ContextDep) -> list[RevisionView]:
    """All revisions, terminated ones too."""
    revisions = operations.list_revisions(context.store, service)
    return [_view(context, service, revision.number) for revision in revisions]


@router.post("/services/{service}/revisions", status_code=201, openapi_extra=MANIFEST_OPENAPI)
async def create_revision(service: str, manifest: Manifest, context: ContextDep) -> RevisionView:
    """Deploy what the manifest describes."""
    revision = await run_in_threadpool(
        operations.create_revision,
        context.store,
        service,
        manifest.text,
        manifest.file,
        context.now(),
        folder=manifest.folder,
    )
    context.poke()
    return await run_in_threadpool(_view, context, service, revision.number)


@router.get("/services/{service}/revisions/{number}")
def read_revision(service: str, number: int, context: ContextDep) -> RevisionView:
    """One revision and its replicas."""
    return _view(context, service, number)


@router.post("/services/{service}/revisions/{number}/terminate")
def terminate_revision(service: str, number: int, context: ContextDep) -> TerminatedView:
    """Stop a revision for good; its open requests end first."""
    terminated = operations.terminate_revision(context.store, service, number, context.now())
    context.poke()
    with context.store.begin() as tx:
        gateway = context.viewer.gateway(service, tx.gateway(service))
    return TerminatedView(
        revision=_view(context, service, number), gateway=gateway, note=terminated.note
    )


def _view(context: Context, service: str, number: int) -> RevisionView:
    revision = operations.read_revision(context.store, service, number)
    with context.store.begin() as tx:
        replicas = tx.replicas(service=service, revision=number)
    return context.viewer.revision(revision, replicas)
