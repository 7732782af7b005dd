"""Services."""

from fastapi import APIRouter

from headrace.control.api.context import Context, ContextDep
from headrace.control.api.responses import ServiceView
from headrace.control.api.routes.bodies import NamedBody
from headrace.control.operations import services as operations
from headrace.control.operations.finding import find_service

router = APIRouter(tags=["services"])


@router.get("/services")
def list_services(context: ContextDep) -> list[ServiceView]:
    """All services."""
    with context.store.read() as reading:
        services = reading.services()
        gateways = {gateway.service: gateway for gateway in reading.gateways()}
        num_revisions = reading.num_revisions()
    return [
        context.viewer.service(
            service, gateways.get(service.name), num_revisions.get(service.name, 0)
        )
        for service in services
    ]


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
    replica_ids = operations.delete_service(context.store, service, context.now())
    context.poke()
    context.folders.remove_replicas(replica_ids)


def _view(context: Context, name: str) -> ServiceView:
    with context.store.read() as reading:
        service = find_service(reading, name)
        gateway, num_revisions = reading.gateway(name), reading.num_revisions(name)
    return context.viewer.service(service, gateway, num_revisions.get(name, 0))
