"""Services."""

from typing import Annotated

from fastapi import APIRouter, Depends

from headrace.control.api.context import Context, context_of
from headrace.control.api.routes.bodies import NamedBody
from headrace.control.api.views import ServiceView
from headrace.control.operations import services as operations

router = APIRouter(tags=["services"])
ContextDep = Annotated[Context, Depends(context_of)]


@router.get("/services")
def list_services(context: ContextDep) -> list[ServiceView]:
    """All services."""
    return [_view(context, service.name) for service in operations.list_services(context.store)]


@router.post("/services", status_code=201)
def create_service(body: NamedBody, context: ContextDep) -> ServiceView:
    """Make a service."""
    service = operations.create_service(context.store, body.name, context.now())
    return _view(context, service.name)


@router.get("/services/{service}")
def read_service(service: str, context: ContextDep) -> ServiceView:
    """One service and its gateway."""
    return _view(context, service)


@router.delete("/services/{service}", status_code=204)
def delete_service(service: str, context: ContextDep) -> None:
    """Remove a service all of whose revisions are terminated."""
    operations.delete_service(context.store, service, context.now())
    context.poke()


def _view(context: Context, name: str) -> ServiceView:
    service = operations.read_service(context.store, name)
    with context.store.begin() as tx:
        return context.viewer.service(service, tx.gateway(name), tx.revisions(name))
