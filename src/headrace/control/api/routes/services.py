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
    with context.store.read() as queries:
        services = queries.services()
        gateways = {gateway.service: gateway for gateway in queries.gateways()}
        num_revisions = queries.num_revisions()
    return [
        context.responses.service(
            service, gateways.get(service.name), num_revisions.get(service.name, 0)
        )
        for service in services
    ]


@router.post("/services", status_code=201)
def create_service(body: NamedBody, context: ContextDep) -> ServiceView:
    """Create a service."""
    service = operations.create_service(context.store, body.name, context.now())
    return _view(context, service.name)


@router.get("/services/{service}")
def read_service(service: str, context: ContextDep) -> ServiceView:
    """One service and its gateway."""
    return _view(context, service)


@router.delete("/services/{service}", status_code=204)
def delete_service(service: str, context: ContextDep) -> None:
    """Delete a service. All its revisions must be terminated."""
    replica_ids = operations.delete_service(context.store, service, context.now())
    context.wake()
    context.folders.remove_replicas(replica_ids)


def _view(context: Context, name: str) -> ServiceView:
    with context.store.read() as queries:
        service = find_service(queries, name)
        gateway, num_revisions = queries.gateway(name), queries.num_revisions(name)
    return context.responses.service(service, gateway, num_revisions.get(name, 0))
